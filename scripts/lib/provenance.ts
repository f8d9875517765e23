/** An artifact or an input with its SHA-256, in hex. */
export interface Digest {
  readonly name: string;
  readonly sha256: string;
}

/** What a release was built from. */
export interface BuildDescription {
  readonly version: string;
  readonly commit: string;
  readonly denoVersion: string;
  /** Inputs besides the commit: runtimes, libraries, certificates. */
  readonly inputs: readonly Digest[];
}

/**
 * Returns an in-toto statement with SLSA provenance (v1) for `JSON.stringify`. It names no builder
 * and no time: the release workflow adds both when it signs.
 */
export function provenance(
  artifacts: readonly Digest[],
  { version, commit, denoVersion, inputs }: BuildDescription,
) {
  const digest = ({ name, sha256 }: Digest) => ({ name, digest: { sha256 } });
  return {
    _type: "https://in-toto.io/Statement/v1",
    subject: artifacts.map(digest),
    predicateType: "https://slsa.dev/provenance/v1",
    predicate: {
      buildDefinition: {
        buildType: "https://github.com/denoland/deno/compile/v1",
        externalParameters: { task: "release", version },
        internalParameters: { deno: denoVersion },
        resolvedDependencies: [
          { name: "sources", digest: { gitCommit: commit } },
          ...inputs.map(digest),
        ],
      },
      runDetails: { builder: { id: "deno task release" } },
    },
  };
}
