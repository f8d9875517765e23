/** What this program was built from. */
export interface BuildInfo {
  /** The version in `deno.json`; `development` when run from source. */
  readonly version: string;
  /** Short hash of the commit, with `-dirty` if the tree had changes; `development` from source. */
  readonly commit: string;
  /** The version of Deno that the binary carries; empty when run from source. */
  readonly denoVersion: string;
}

// `scripts/compile.ts` puts the real values in place of this text in the bundle. It is cut apart at
// run time, in a way that no minifier computes beforehand.
const STAMP = "nydus-auth-agent-build|development|development|";

/** The build at hand. */
export const BUILD_INFO: BuildInfo = readStamp(STAMP.split("|"));

function readStamp([, version = "", commit = "", denoVersion = ""]: string[]): BuildInfo {
  return Object.freeze({ version, commit, denoVersion });
}
