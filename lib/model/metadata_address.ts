/**
 * Services of a cloud that hand out the node's own identity or configuration, besides the
 * link-local ones: Alibaba Cloud, Azure's wire server, AWS and Google Cloud over IPv6.
 */
const METADATA_IPV4: readonly string[] = ["100.100.100.200", "168.63.129.16"];
const METADATA_IPV6: readonly string[] = ["fd00:ec2::23", "fd00:ec2::254", "fd20:ce::254"];

/**
 * Returns whether an IP address belongs to a metadata service of a cloud, or to the link-local
 * networks where most of them are (169.254.0.0/16 with AWS ECS and EKS, fe80::/10). An IPv4 address
 * that is mapped into IPv6 counts as itself. What is no IP address counts too: it is not to be
 * connected to.
 */
export function isMetadataAddress(address: string): boolean {
  if (!address.includes(":")) return isMetadataIpv4(address);
  // The parser writes each address in one way only.
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
