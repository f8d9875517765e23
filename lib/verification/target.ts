import type { ImageReference, ProbeTarget } from "../model/mod.ts";

const HUB = "docker.io";
/** Where images of Docker Hub really are. */
const HUB_HOST = "registry-1.docker.io";

/**
 * How a registry is reached where nothing else is known than the image: over TLS, but on loopback
 * without, as containerd's default hosts have it (`docker.MatchLocalhost`).
 */
export function defaultProbeTarget(image: ImageReference): ProbeTarget {
  const { registry, repository } = image;
  const reference = image.digest ?? image.tag;
  return {
    scheme: isLoopback(registry) ? "http" : "https",
    host: registry === HUB ? HUB_HOST : registry,
    repository,
    ...(reference !== undefined && { reference }),
    skipVerify: false,
    caFiles: [],
  };
}

/** Whether a host, with or without port, is this machine. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(name);
}
