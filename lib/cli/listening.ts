import { messageOf, type Observer } from "../model/mod.ts";

/**
 * One listener, wherever the configuration in force puts it. Where it cannot listen that is told,
 * and tried again with the next configuration: nothing else depends on it.
 */
export class Listening implements AsyncDisposable {
  readonly #observer: Observer;
  readonly #what: { readonly code: string; readonly text: string; readonly mend: string };
  #listener: AsyncDisposable | undefined;
  #at: string | undefined;

  /** @param what How trouble is told: a code, what is not served, and what helps. */
  constructor(
    observer: Observer,
    what: { readonly code: string; readonly text: string; readonly mend: string },
  ) {
    this.#observer = observer;
    this.#what = what;
  }

  /**
   * Listens by `open`, unless it listens there already. Never rejects.
   *
   * @param at Equal for equal places and rights; undefined: nowhere.
   */
  async apply(at: string | undefined, open: () => Promise<AsyncDisposable>): Promise<void> {
    if (at === this.#at && (at === undefined || this.#listener !== undefined)) return;
    this.#at = at;
    try {
      // Ours would be in the way of another mode for the same path.
      await this[Symbol.asyncDispose]();
      if (at !== undefined) this.#listener = await open();
    } catch (error) {
      const { code, text, mend } = this.#what;
      const whole = `${text} is not served: ${messageOf(error)}; ${mend}`;
      this.#observer.notify({ kind: "warning", code, text: whole });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    await listener?.[Symbol.asyncDispose]();
  }
}
