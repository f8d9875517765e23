const MAX_NAMED = 5;
const MAX_LENGTH = 100;

/** Names for people: the first five, without what stands before an `@`, and how many more. */
export function few(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMED).map((name) => {
    const at = name.lastIndexOf("@");
    const bare = at < 0 ? name : `[hidden]${name.slice(at)}`;
    return bare.length > MAX_LENGTH ? `${bare.slice(0, MAX_LENGTH)}…` : bare;
  });
  const more = names.length - shown.length;
  return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
