import type { Clock, Random } from "../../lib/model/mod.ts";

/** A clock that the simulation sets. Sleeping takes no time. */
export class VirtualClock implements Clock {
  readonly #startMs: number;
  /** Milliseconds since the start. */
  nowMs = 0;

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
  }

  wallMs(): number {
    return this.#startMs + this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  sleep(): Promise<void> {
    return Promise.resolve();
  }

  every(): Disposable {
    return { [Symbol.dispose]() {} };
  }

  /** Converts wall time to time since the start. */
  sinceStart(wallMs: number): number {
    return wallMs - this.#startMs;
  }
}

/** Returns the same numbers for the same seed (mulberry32). */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
}

/** Priority queue of events, ordered by time (a binary heap). */
export class EventQueue {
  readonly #items: { readonly atMs: number; readonly what: number }[] = [];

  add(atMs: number, what: number): void {
    const items = this.#items;
    let i = items.length;
    const item = { atMs, what };
    items.push(item);
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = items[up];
      if (parent === undefined || parent.atMs <= atMs) break;
      items[i] = parent;
      i = up;
    }
    items[i] = item;
  }

  take(): { readonly atMs: number; readonly what: number } | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (first === undefined || last === undefined || items.length === 0) return first;
    let i = 0;
    while (true) {
      const left = items[2 * i + 1];
      const right = items[2 * i + 2];
      const next = right !== undefined && left !== undefined && right.atMs < left.atMs
        ? right
        : left;
      if (next === undefined || next.atMs >= last.atMs) break;
      items[i] = next;
      i = next === right ? 2 * i + 2 : 2 * i + 1;
    }
    items[i] = last;
    return first;
  }
}
