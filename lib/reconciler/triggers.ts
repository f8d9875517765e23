import { type CallOptions, type Clock, Deadline } from "../model/mod.ts";

/** Why the loop looks: the clock, or something that happened. */
export type TriggerReason = "start" | "interval" | "node-changed" | "reads-failing" | "requested";

/** Wakes the loop early. What fires while nobody waits is kept, once. */
export class Triggers {
  readonly #clock: Clock;
  #pending: TriggerReason | undefined;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  fire(reason: TriggerReason): void {
    this.#pending ??= reason;
    this.#wake?.();
  }

  /** Wakes a waiting loop so that it calculates again how long to wait; nothing has fired. */
  nudge(): void {
    this.#wake?.();
  }

  /** The reason that fired; undefined after `ms`, or when nudged. Rejects when aborted. */
  async wait(ms: number, { signal }: CallOptions = {}): Promise<TriggerReason | undefined> {
    signal?.throwIfAborted();
    if (this.#pending === undefined && ms > 0) {
      using woken = new Deadline(undefined, signal);
      this.#wake = () => woken.abort();
      try {
        await this.#clock.sleep(ms, woken);
      } catch (error) {
        signal?.throwIfAborted();
        if (!woken.signal.aborted) throw error;
      } finally {
        this.#wake = undefined;
      }
    }
    const reason = this.#pending;
    this.#pending = undefined;
    return reason;
  }
}
