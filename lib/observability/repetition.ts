const MAX_REMEMBERED = 20_000;

interface Problem {
  readonly signature: string;
  count: number;
}

/**
 * Says which occurrences of a problem are worth a line: the first, each that differs from the one
 * before, and among equal ones each power of ten. So nothing repeats at every look, and nothing
 * that lasts falls silent.
 */
export class Repetition {
  readonly #problems = new Map<string, Problem>();

  /** How often in a row it has been met, when that is worth a line; undefined when it is not. */
  met(subject: string, detail: string, continues = false): number | undefined {
    // Numbers in a text (an exit code, a port, a duration) do not make it another problem.
    const signature = detail.replace(/\d+/g, "0");
    const known = this.#problems.get(subject);
    if (known !== undefined && (continues || known.signature === signature)) {
      known.count++;
      return isPowerOfTen(known.count) ? known.count : undefined;
    }
    this.#problems.delete(subject);
    if (this.#problems.size >= MAX_REMEMBERED) this.#forgetOldest();
    this.#problems.set(subject, { signature, count: 1 });
    return 1;
  }

  /** How often in a row it had been met until it went away; undefined when all was well. */
  over(subject: string): number | undefined {
    const count = this.#problems.get(subject)?.count;
    this.#problems.delete(subject);
    return count;
  }

  /** Whether it has been met and is not over. */
  lasts(subject: string): boolean {
    return this.#problems.has(subject);
  }

  /** Whether anything is not over. */
  get lastsAny(): boolean {
    return this.#problems.size > 0;
  }

  /** Says nothing and starts anew: of one subject, or of all below one that ends in a slash. */
  forget(ended: string): void {
    if (!ended.endsWith("/")) {
      this.#problems.delete(ended);
      return;
    }
    for (const subject of this.#problems.keys()) {
      if (subject.startsWith(ended)) this.#problems.delete(subject);
    }
  }

  #forgetOldest(): void {
    const oldest = this.#problems.keys().next();
    if (!oldest.done) this.#problems.delete(oldest.value);
  }
}

function isPowerOfTen(count: number): boolean {
  let power = 1;
  while (power < count) power *= 10;
  return power === count;
}
