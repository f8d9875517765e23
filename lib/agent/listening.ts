import { messageOf, type Observer, type WarningCode } from "../model/mod.ts";

/** Where a listener is to be. */
export interface Endpoint {
  /** An address or a path: no two listeners can have the same. */
  readonly place: string;
  /** Whatever else requires another listener when it changes. */
  readonly settings?: unknown;
}

/** A listener that moves with the configuration. */
export class Listening implements AsyncDisposable {
  #listener: AsyncDisposable | undefined;
  #endpoint: Endpoint | undefined;

  /**
   * Listens at an endpoint, or nowhere. The listener before it is closed once `open` has succeeded,
   * or before where both have the same place.
   *
   * @throws What `open` throws; the listener before it then goes on, unless it had to be closed.
   */
  async move(
    endpoint: Endpoint | undefined,
    open: () => Promise<AsyncDisposable>,
  ): Promise<void> {
    const isOpen = endpoint === undefined || this.#listener !== undefined;
    if (isOpen && JSON.stringify(endpoint) === JSON.stringify(this.#endpoint)) return;
    if (endpoint === undefined || endpoint.place === this.#endpoint?.place) {
      await this[Symbol.asyncDispose]();
    }
    const next = endpoint && await open();
    await this[Symbol.asyncDispose]();
    this.#listener = next;
    this.#endpoint = endpoint;
  }

  /** As {@linkcode move}, for what the agent can do without: a failure only is a warning. */
  async tryMove(
    endpoint: Endpoint | undefined,
    open: () => Promise<AsyncDisposable>,
    { observer, code, text, remedy }: {
      readonly observer: Observer;
      readonly code: WarningCode;
      /** What is not served then. */
      readonly text: string;
      readonly remedy: string;
    },
  ): Promise<void> {
    try {
      await this.move(endpoint, open);
    } catch (error) {
      await this[Symbol.asyncDispose]();
      const warning = `${text} is not served: ${messageOf(error)}; ${remedy}`;
      observer.notify({ kind: "warning", code, text: warning });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    this.#endpoint = undefined;
    await listener?.[Symbol.asyncDispose]();
  }
}
