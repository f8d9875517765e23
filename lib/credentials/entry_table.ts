import { expiryOrder, type StoreEntry } from "./store_entry.ts";

/** The earliest attempt, and the latest that was made, of all that have a next one. */
interface Bounds {
  readonly nextAtMs: number;
  readonly lastAtMs: number;
}

/** The entries of a store by key, and when something is to be done about any of them. */
export class EntryTable {
  readonly #entries = new Map<string, StoreEntry>();
  /** Asked at every turn of the loop: worked out once after a change. */
  #bounds: Bounds | undefined;

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): StoreEntry | undefined {
    return this.#entries.get(key);
  }

  set(key: string, entry: StoreEntry): void {
    this.#entries.set(key, entry);
    this.#bounds = undefined;
  }

  delete(key: string): void {
    this.#entries.delete(key);
    this.#bounds = undefined;
  }

  values(): Iterable<StoreEntry> {
    return this.#entries.values();
  }

  [Symbol.iterator](): Iterator<[string, StoreEntry]> {
    return this.#entries[Symbol.iterator]();
  }

  /** Entries to ask for now, the most urgent first. */
  due(nowMs: number): StoreEntry[] {
    const { nextAtMs, lastAtMs } = this.#bounds ??= this.#boundsNow();
    if (nowMs < nextAtMs && lastAtMs <= nowMs) return [];
    const due: StoreEntry[] = [];
    for (const entry of this.#entries.values()) {
      const next = entry.nextAttemptAtMs;
      if (next === undefined) continue;
      // A wall clock that stepped back leaves times of the future behind.
      if (next <= nowMs || (entry.attempts.lastAtMs ?? 0) > nowMs) due.push(entry);
    }
    return due.sort((a, b) => expiryOrder(a) - expiryOrder(b));
  }

  /** The earliest time at which something is due; undefined when nothing ever is. */
  nextDueAtMs(): number | undefined {
    const { nextAtMs } = this.#bounds ??= this.#boundsNow();
    return nextAtMs === Infinity ? undefined : nextAtMs;
  }

  #boundsNow(): Bounds {
    let nextAtMs = Infinity;
    let lastAtMs = 0;
    for (const { nextAttemptAtMs: next, attempts } of this.#entries.values()) {
      if (next === undefined) continue;
      nextAtMs = Math.min(nextAtMs, next);
      lastAtMs = Math.max(lastAtMs, attempts.lastAtMs ?? 0);
    }
    return { nextAtMs, lastAtMs };
  }
}
