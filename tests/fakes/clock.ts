import type { CallOptions, Clock } from "../../lib/model/mod.ts";

interface Sleeper {
  readonly wakeAtMs: number;
  readonly wake: () => void;
}

/**
 * A virtual clock. A test advances it with {@linkcode FakeClock.advance} once the code under test
 * sleeps ({@linkcode FakeClock.waiting}), so that nothing depends on real time.
 */
export class FakeClock implements Clock {
  #wallMs: number;
  #monotonicMs = 0;
  #sleepers: Sleeper[] = [];
  #watchers: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(wallMs = Date.UTC(2026, 0, 1)) {
    this.#wallMs = wallMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  sleep(ms: number, { signal }: CallOptions = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (ms <= 0) return resolve(); // yielding to the event loop takes no time
      const sleeper: Sleeper = {
        wakeAtMs: this.#monotonicMs + ms,
        wake: () => {
          signal?.removeEventListener("abort", abort);
          resolve();
        },
      };
      const abort = () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        reject(signal!.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#sleepers.push(sleeper);
      this.#announce();
    });
  }

  every(intervalMs: number, run: (delayMs: number) => void): Disposable {
    const ended = new AbortController();
    const loop = async () => {
      while (true) {
        await this.sleep(intervalMs - this.#monotonicMs % intervalMs, ended);
        run(0);
      }
    };
    loop().catch(() => {}); // rejects only when aborted
    return { [Symbol.dispose]: () => ended.abort() };
  }

  /** The number of calls of `sleep` that are waiting. */
  get sleeping(): number {
    return this.#sleepers.length;
  }

  /** Resolves once at least `count` calls of `sleep` are waiting. */
  waiting(count = 1): Promise<void> {
    if (this.#sleepers.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#watchers.push({ count, resolve }));
  }

  /** Advances both clocks, waking sleepers in the order of their times. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms;
    while (true) {
      const next = this.#sleepers.filter((s) => s.wakeAtMs <= untilMs)
        .sort((a, b) => a.wakeAtMs - b.wakeAtMs)[0];
      if (next === undefined) break;
      this.#move(next.wakeAtMs - this.#monotonicMs);
      this.#sleepers = this.#sleepers.filter((s) => s !== next);
      next.wake();
      await flushTasks();
    }
    this.#move(untilMs - this.#monotonicMs);
    await flushTasks();
  }

  /** Steps only the wall clock, like an operator or NTP. */
  stepWall(ms: number): void {
    this.#wallMs += ms;
  }

  #move(ms: number): void {
    this.#wallMs += ms;
    this.#monotonicMs += ms;
  }

  #announce(): void {
    this.#watchers = this.#watchers.filter(({ count, resolve }) => {
      if (this.#sleepers.length < count) return true;
      resolve();
      return false;
    });
  }
}

/** Runs all pending tasks that do not wait for time. */
export async function flushTasks(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
  // Yields to the event loop; setTimeout(0) would take four milliseconds.
  await new Promise<void>((resolve) => setImmediate(resolve));
}
