import { type CredentialSubject, type ProbeTarget, Secret } from "../model/mod.ts";
import { defaultProbeTarget } from "../verification/mod.ts";
import type { Mount } from "./mounts.ts";

/**
 * How the registry is asked about a credential: as the nydusd of its first mount reads from it, by
 * host, authorities, mirror and proxy; by the image alone where that is not known. nydusd goes on
 * to the registry itself where a mirror or proxy is ill, unless it is told not to.
 */
export function probeTargetOf(subject: CredentialSubject, mounts: readonly Mount[]): ProbeTarget {
  const usual = defaultProbeTarget(subject.endpoint ?? subject);
  const backend = mounts.map(({ instance }) => instance.backend).find((one) => one?.host);
  if (backend?.host === undefined) return usual;
  const { scheme, host, repo, skipVerify, caFiles, proxy, mirrors: [mirror] } = backend;
  const direct: ProbeTarget = {
    ...usual,
    scheme: scheme === "http" ? "http" : "https",
    host,
    repository: repo ?? usual.repository,
    skipVerify,
    caFiles,
  };
  const mirrorUrl = mirror === undefined ? undefined : URL.parse(mirror);
  if (mirrorUrl) {
    const { protocol, host } = mirrorUrl;
    const scheme = protocol === "http:" ? "http" : "https";
    return { ...direct, scheme, host, fallback: direct };
  }
  if (proxy === undefined) return direct;
  return {
    ...direct,
    ...(proxy.useHttp && { scheme: "http" }),
    proxyUrl: new Secret(proxy.url),
    ...(proxy.fallback && { fallback: direct }),
  };
}
