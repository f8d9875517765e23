import { type CallOptions, type Clock, Deadline } from "../model/mod.ts";

/** Why the loop looks: the clock, or something that happened. */
export type TriggerReason = "start" | "interval" | "node-changed" | "reads-failing" | "requested";

/** What has settled within this time is taken account of together. */
const NUDGE_GAP_MS = 50;

/** Wakes the loop early. What fires while nobody waits is kept, once. */
export class Triggers {
  readonly #clock: Clock;
  #pending: TriggerReason | undefined;
  #wake: (() => void) | undefined;
  #nudging = false;
  readonly #ended = new AbortController();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  fire(reason: TriggerReason): void {
    this.#pending ??= reason;
    this.#wake?.();
  }

  /** Wakes a waiting loop so that it reckons again how long to sleep; nothing has fired. */
  nudge(): void {
    this.#wake?.();
  }

  /**
   * The same a little later. Ten thousand answers in a row cause that a few times: whoever wakes
   * looks at every entry.
   */
  nudgeSoon(): void {
    if (this.#nudging) return;
    this.#nudging = true;
    this.#clock.sleep(NUDGE_GAP_MS, { signal: this.#ended.signal }).then(() => {
      this.#nudging = false;
      this.nudge();
    }, () => {}); // ended
  }

  /** Nobody waits any more. */
  end(): void {
    this.#ended.abort();
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
