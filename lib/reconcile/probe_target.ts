import { type CredentialSubject, type ProbeTarget, Secret } from "../model/mod.ts";
import { defaultProbeTarget } from "../resolve/mod.ts";
import type { Mount } from "./mounts.ts";

/**
 * How the registry is asked about a credential: as the nydusd of its first mount reads from it, by
 * host, authorities and proxy; by the image alone where that is not known.
 */
export function probeTargetOf(subject: CredentialSubject, mounts: readonly Mount[]): ProbeTarget {
  const usual = defaultProbeTarget(subject.endpoint ?? subject);
  const backend = mounts.map(({ instance }) => instance.backend).find((one) => one?.host);
  if (backend?.host === undefined) return usual;
  const { scheme, host, repo, skipVerify, caFiles, proxy } = backend;
  return {
    ...usual,
    scheme: scheme === "http" ? "http" : "https",
    host,
    repository: repo ?? usual.repository,
    skipVerify,
    caFiles,
    ...(proxy && { proxyUrl: new Secret(proxy.url) }),
  };
}
