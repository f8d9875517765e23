import { sourceOf, type StoredCredential } from "./store_entry.ts";

/** Sources remembered, and how many lives of each. */
const MAX_SOURCES = 1_000;
const MAX_LIVES = 16;

/**
 * The hidden lives of tokens that do not say when they end, learned by watching when their source
 * gives another one. What counts is how long a token was still given out after its first sight: the
 * shortest of the last ones, so that the guess is too short rather than too long.
 */
export class LearnedLives {
  readonly #bySource = new Map<string, number[]>();

  /**
   * A source has given a credential: takes in how long the one before was given out. Says whether
   * the birth of the new one was seen.
   *
   * @param equal It is the same credential again.
   */
  watch(before: StoredCredential | undefined, source: string, equal: boolean): boolean {
    if (before === undefined) return false;
    if (equal) return before.birthSeen;
    if (source !== sourceOf(before.provider, before.candidate)) return false;
    const { life, birthSeen } = before;
    const hidden = !life.watched && life.hardExpiresAtMs === undefined;
    if (hidden && birthSeen) this.observe(source, life.fetchedAtMs - life.bornAtMs);
    return true;
  }

  /**
   * A source has replaced a token that it gave for `livedMs`. A source that gives another token at
   * every question tells nothing.
   */
  observe(source: string, livedMs: number): void {
    if (!(livedMs > 0)) return;
    const lives = this.#bySource.get(source) ?? [];
    this.#bySource.delete(source); // what was seen last is forgotten last
    this.#bySource.set(source, [...lives, livedMs].slice(-MAX_LIVES));
    const [oldest] = this.#bySource.keys();
    if (this.#bySource.size > MAX_SOURCES && oldest !== undefined) this.#bySource.delete(oldest);
  }

  /** How long a token of this source lives at least, in milliseconds; undefined when not known. */
  lifeMs(source: string): number | undefined {
    const lives = this.#bySource.get(source);
    return lives && Math.min(...lives);
  }
}
