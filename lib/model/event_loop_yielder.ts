import type { Clock } from "./ports.ts";

/** Work goes on for so long before the event loop is given a turn. */
const SLICE_MS = 8;

/**
 * Keeps long work from blocking the event loop. Answers that are at hand arrive without the loop
 * turning, so ten thousand of them in a row would hold up everything else, the server and the
 * watchdog too: whoever works through many things asks here between two of them.
 */
export class EventLoopYielder {
  readonly #clock: Clock;
  #sinceMs: number;
  #turn: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.monotonicMs();
  }

  /** Whether the loop is due a turn: then await {@linkcode EventLoopYielder.give}, else go on at once. */
  get isDue(): boolean {
    return this.#turn !== undefined || this.#clock.monotonicMs() - this.#sinceMs >= SLICE_MS;
  }

  /** Lets everything else have its turn. All who ask meanwhile wait for the same one. */
  async give(): Promise<void> {
    await (this.#turn ??= this.#clock.sleep(0).finally(() => {
      this.#turn = undefined;
      this.#sinceMs = this.#clock.monotonicMs();
    }));
  }
}
