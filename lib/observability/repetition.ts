const MAX_REMEMBERED = 20_000;

interface Trouble {
  readonly signature: string;
  count: number;
}

/**
 * Says which occurrences of a problem are worth a line: the first, each that differs from the one
 * before, and among equal ones each power of ten. So nothing repeats at every look, and nothing
 * that lasts falls silent.
 */
export class Repetition {
  readonly #troubles = new Map<string, Trouble>();

  /** How often in a row it has been met, when that is worth a line; undefined when it is not. */
  met(subject: string, detail: string, continues = false): number | undefined {
    // Numbers in a text (an exit code, a port, a duration) do not make it another problem.
    const signature = detail.replace(/\d+/g, "0");
    const known = this.#troubles.get(subject);
    if (known !== undefined && (continues || known.signature === signature)) {
      known.count++;
      return isPowerOfTen(known.count) ? known.count : undefined;
    }
    this.#troubles.delete(subject);
    if (this.#troubles.size >= MAX_REMEMBERED) this.#forgetOldest();
    this.#troubles.set(subject, { signature, count: 1 });
    return 1;
  }

  /** How often in a row it had been met until it went away; undefined when all was well. */
  over(subject: string): number | undefined {
    const count = this.#troubles.get(subject)?.count;
    this.#troubles.delete(subject);
    return count;
  }

  /** Whether it has been met and is not over. */
  lasts(subject: string): boolean {
    return this.#troubles.has(subject);
  }

  /** Whether anything is not over. */
  get lastsAny(): boolean {
    return this.#troubles.size > 0;
  }

  /** Says nothing and starts anew: of one subject, or of all below one that ends in a slash. */
  forget(ended: string): void {
    if (!ended.endsWith("/")) {
      this.#troubles.delete(ended);
      return;
    }
    for (const subject of this.#troubles.keys()) {
      if (subject.startsWith(ended)) this.#troubles.delete(subject);
    }
  }

  #forgetOldest(): void {
    const oldest = this.#troubles.keys().next();
    if (!oldest.done) this.#troubles.delete(oldest.value);
  }
}

function isPowerOfTen(count: number): boolean {
  let power = 1;
  while (power < count) power *= 10;
  return power === count;
}
