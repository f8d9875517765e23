import { createHmac, randomBytes } from "node:crypto";

// A random key per process, so that fingerprints in a log cannot be used to verify guesses.
const fingerprintKey = randomBytes(32);

/**
 * A text that cannot be printed by accident: `String`, `JSON.stringify` and `Deno.inspect` return
 * `[secret]`. Only {@linkcode Secret.reveal} returns the text, and its calls are easy to find.
 *
 * @example A template string does not contain the text
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

  /** Returns the text. Call it only where the text is passed to its intended recipient. */
  reveal(): string {
    return this.#value;
  }

  /** Whether the text is empty. */
  get isEmpty(): boolean {
    return this.#value.length === 0;
  }

  /** Returns whether both have the same text. */
  equals(other: Secret): boolean {
    return this.#value === other.#value;
  }

  /** Returns eight hex digits, equal for equal texts within this process only. */
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
