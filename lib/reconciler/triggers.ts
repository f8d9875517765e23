import { type CallOptions, type Clock, Deadline } from "../model/mod.ts";

/** Why a reconcile starts: the interval, or an event. */
export type TriggerReason = "start" | "interval" | "node-changed" | "reads-failing" | "requested";

/** Wakes the reconcile loop. The first trigger that fires while the loop is busy is kept. */
export class Triggers {
  readonly #clock: Clock;
  #pending: TriggerReason | undefined;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Triggers a reconcile. */
  fire(reason: TriggerReason): void {
    this.#pending ??= reason;
    this.#wake?.();
  }

  /** Wakes a waiting loop without a reconcile, so that it calculates its wait again. */
  nudge(): void {
    this.#wake?.();
  }

  /** Resolves to the trigger; to undefined after `ms` or when nudged. Rejects when aborted. */
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
