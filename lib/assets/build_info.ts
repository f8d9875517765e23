/** Version and origin of the binary. */
export interface BuildInfo {
  /** The version in `deno.json`; `development` when run from source. */
  readonly version: string;
  /** Short hash of the commit, with `-dirty` if the tree had changes; `development` from source. */
  readonly commit: string;
  /** The version of Deno in the binary; empty when run from source. */
  readonly denoVersion: string;
}

// `scripts/compile.ts` replaces this text in the bundle. It is split at run time, so that no minifier
// evaluates it earlier.
const STAMP = "nydus-auth-agent-build|development|development|";

/** The build of the running program. */
export const BUILD_INFO: BuildInfo = readStamp(STAMP.split("|"));

function readStamp([, version = "", commit = "", denoVersion = ""]: string[]): BuildInfo {
  return Object.freeze({ version, commit, denoVersion });
}
