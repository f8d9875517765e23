/** Returns the known name that is closest to a mistyped one; undefined if none is close. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  // The distance costs the product of the lengths, and a long text is not a typing error.
  if (name.length > 64) return undefined;
  const plain = plainForm(name);
  const limit = Math.max(2, Math.floor(plain.length / 3));
  const [best] = known
    .map((candidate) => ({ candidate, distance: editDistance(plain, plainForm(candidate)) }))
    // For short names, a distance of the whole length means that nothing matches.
    .filter(({ candidate, distance }) => distance <= limit && distance < candidate.length)
    .sort((a, b) => a.distance - b.distance);
  return best?.candidate;
}

/** Maps `checkInterval`, `check-interval` and `Check_Interval` to the same name. */
function plainForm(name: string): string {
  return name.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").replaceAll("-", "_").toLowerCase();
}

/** Returns the number of insertions, deletions and replacements. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
