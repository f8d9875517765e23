/**
 * Whether a request's `Host` may ask us. A page in a browser can point a name of its own at our
 * address (DNS rebinding) and read the answer; its `Host` then names what we are not called.
 * Loopback is always fine, and so is the configured address; where that is not a loopback one,
 * so is any literal address: scrapers and probes use them, and no name can be rebound to one.
 */
export function isAllowedHost(host: string, allowedHosts: readonly string[]): boolean {
  const hostname = hostnameOf(host);
  if (hostname === undefined) return false;
  if (isLoopback(hostname)) return true;
  const allowed = allowedHosts.map((each) => hostnameOf(bracketed(each)));
  if (allowed.includes(hostname)) return true;
  const isOpen = allowed.some((each) => each !== undefined && !isLoopback(each));
  return isOpen && isAddress(hostname);
}

/** Lower case, without port, IPv6 in brackets; undefined for what is no host. */
function hostnameOf(host: string): string | undefined {
  if (!/^(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i.test(host)) return undefined;
  return URL.parse(`http://${host}/`)?.hostname.replace(/\.$/, "");
}

function bracketed(host: string): string {
  return host.includes(":") && /^[0-9a-f:.]+$/i.test(host) && !/^[^:]*:\d+$/.test(host)
    ? `[${host}]`
    : host;
}

function isAddress(hostname: string): boolean {
  return hostname.startsWith("[") || /^\d{1,3}(?:\.\d{1,3}){3}$/.test(hostname);
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}
