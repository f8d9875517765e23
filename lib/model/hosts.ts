const IPV6_GROUP = /^[0-9A-Fa-f]{1,4}$/;
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/**
 * Metadata and identity services of clouds outside the link-local networks: Alibaba Cloud, Azure's
 * wire server, AWS and Google Cloud over IPv6.
 */
const METADATA_IPV4: readonly string[] = ["100.100.100.200", "168.63.129.16"];
const METADATA_IPV6: readonly string[] = ["fd00:ec2::23", "fd00:ec2::254", "fd20:ce::254"];

/** Returns whether a text is an IPv6 address, with or without a zone, as Go's `netip.ParseAddr`. */
export function isIpv6(text: string): boolean {
  const percent = text.indexOf("%");
  if (percent === text.length - 1) return false;
  const halves = (percent < 0 ? text : text.slice(0, percent)).split("::");
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [h, half] of halves.entries()) {
    if (half === "") continue;
    const fields = half.split(":");
    for (const [f, field] of fields.entries()) {
      const isLast = h === halves.length - 1 && f === fields.length - 1;
      if (IPV6_GROUP.test(field)) groups += 1;
      else if (isLast && IPV4.test(field)) groups += 2;
      else return false;
    }
  }
  // The "::" stands for at least one group of zeros.
  return halves.length === 2 ? groups < 8 : groups === 8;
}

/**
 * Returns whether an IP address belongs to the metadata service of a cloud, or to the link-local
 * networks where most of them are (169.254.0.0/16 with AWS ECS and EKS, fe80::/10). An IPv4-mapped
 * IPv6 address counts as its IPv4 address. A text that is not an IP address counts as a metadata
 * address, because the agent must not connect to it.
 */
export function isMetadataAddress(address: string): boolean {
  if (!address.includes(":")) return isMetadataIpv4(address);
  // The URL parser normalizes the notation of the address.
  const host = URL.parse(`http://[${address.replace(/%.*$/, "")}]/`)?.hostname.slice(1, -1);
  if (host === undefined) return true;
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(host) ?? [];
  if (high !== undefined && low !== undefined) {
    const bytes = [parseInt(high, 16), parseInt(low, 16)].flatMap((two) => [two >> 8, two & 255]);
    return isMetadataIpv4(bytes.join("."));
  }
  return /^fe[89ab][0-9a-f]:/.test(host) || METADATA_IPV6.includes(host);
}

function isMetadataIpv4(address: string): boolean {
  if (!/^\d{1,3}(?:\.\d{1,3}){3}$/.test(address)) return true;
  return address.startsWith("169.254.") || METADATA_IPV4.includes(address);
}

/**
 * Returns whether to serve a request with this `Host` header. With DNS rebinding a web page can
 * point its own host name at the agent and read the response; the `Host` header then has that
 * name. Loopback and the configured addresses are always allowed. If a configured address is not
 * loopback, every literal address is allowed too: scrapers and probes use them, and an address
 * cannot be rebound.
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

/** Lower case, without the port, IPv6 in brackets; undefined for an invalid host. */
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
