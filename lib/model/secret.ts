import { createHmac, randomBytes } from "node:crypto";

// A key of this process alone: a fingerprint in a log cannot be checked against guesses elsewhere.
const fingerprintKey = randomBytes(32);

/**
 * A value that cannot print itself: `String`, `JSON.stringify` and `Deno.inspect` all show
 * `[secret]`. The only way to the text is {@linkcode Secret.reveal}, which is easy to search for.
 *
 * @example It hides
 * ```ts
 * import { Secret } from "./secret.ts";
 * if (`${new Secret("hunter2")}` !== "[secret]") throw new Error("leak");
 * ```
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The text itself. Call it only where the value leaves for its one legitimate reader. */
  reveal(): string {
    return this.#value;
  }

  /** Whether there is nothing to hide. */
  get isEmpty(): boolean {
    return this.#value.length === 0;
  }

  /** Whether both hold the same text. */
  equals(other: Secret): boolean {
    return this.#value === other.#value;
  }

  /** Eight hex digits, equal for equal values within this process and meaningless outside. */
  fingerprint(): string {
    return createHmac("sha256", fingerprintKey).update(this.#value).digest("hex").slice(0, 8);
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [Symbol.for("Deno.customInspect")](): string {
    return "[secret]";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return "[secret]";
  }
}
