const GROUP = /^[0-9A-Fa-f]{1,4}$/;
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/** Whether a text is an IPv6 address, zone or not, as Go's `netip.ParseAddr` reads it. */
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
      if (GROUP.test(field)) groups += 1;
      else if (isLast && IPV4.test(field)) groups += 2;
      else return false;
    }
  }
  // The "::" stands for at least one group of zeros.
  return halves.length === 2 ? groups < 8 : groups === 8;
}
