/** The encoding of a secret in a text. */
export type CanaryForm =
  | "raw"
  | "base64"
  | "base64url"
  | "base64-twice"
  | "url"
  | "json"
  | "html"
  | "hex"
  | "bytes"
  | "reversed"
  | "split";

/** A detected secret, without the secret itself. */
export interface CanaryMatch {
  /** The name of the source of the secret. */
  readonly source: string;
  readonly form: CanaryForm;
}

/** The number of consecutive characters that are a match, so that parts of a secret are found. */
const WINDOW = 12;
/** Half of a secret of this length still fills a window. */
export const MIN_CANARY_LENGTH = 2 * WINDOW;

/**
 * Detects known secrets in texts: complete or in part, encoded, escaped, reversed, or with other
 * characters in between.
 */
export class CanaryDetector {
  /** Each window of each form. */
  readonly #windows = new Map<string, CanaryMatch>();
  /** Each window of the letters and digits of each secret. */
  readonly #alphanumeric = new Map<string, CanaryMatch>();

  /** @param secrets Secrets by source. */
  constructor(secrets: Readonly<Record<string, string>>) {
    for (const [source, secret] of Object.entries(secrets)) {
      if (secret.length < MIN_CANARY_LENGTH) {
        throw new RangeError(
          `${source}: a canary must have at least ${MIN_CANARY_LENGTH} characters`,
        );
      }
      for (const [form, texts] of Object.entries(formsOf(secret))) {
        for (const text of texts) add(this.#windows, text, { source, form: form as CanaryForm });
      }
      add(this.#alphanumeric, alphanumericOf(secret), { source, form: "split" });
      add(this.#alphanumeric, reversed(alphanumericOf(secret)), { source, form: "split" });
    }
  }

  /** Returns the secrets in a text, each source and form once. */
  find(text: string): readonly CanaryMatch[] {
    const matches = new Map<string, CanaryMatch>();
    const search = (windows: ReadonlyMap<string, CanaryMatch>, within: string) => {
      for (let i = 0; i + WINDOW <= within.length; i++) {
        const match = windows.get(within.slice(i, i + WINDOW));
        if (match !== undefined) matches.set(`${match.source} ${match.form}`, match);
      }
    };
    search(this.#windows, text);
    search(this.#windows, text.toLowerCase().replaceAll(/[\s:]+/g, "")); // hex dumps
    search(this.#windows, text.replaceAll(/\s+/g, "")); // base64 with line breaks
    search(this.#alphanumeric, alphanumericOf(text));
    return [...matches.values()];
  }
}

/** Returns a random secret with the characters that are usually escaped. */
export function newCanary(): string {
  const part = () => crypto.getRandomValues(new Uint8Array(18)).toBase64();
  return `${part()}"\\&<${part()}%é+ ${part()}`;
}

/** Returns a random secret of letters, digits and dots, as in tokens. */
export function newTokenCanary(): string {
  return crypto.getRandomValues(new Uint8Array(36)).toHex() + ".canary";
}

/** Whether a text contains a complete secret, raw or in base64. Secrets may be short. */
export function containsSecret(text: string, secrets: readonly string[]): boolean {
  return secrets.some((secret) => {
    const forms = [secret, ...base64Forms(new TextEncoder().encode(secret))];
    return forms.some((form) => text.includes(form));
  });
}

function formsOf(secret: string): Record<Exclude<CanaryForm, "split">, readonly string[]> {
  const bytes = new TextEncoder().encode(secret);
  const hex = bytes.toHex();
  const once = base64Forms(bytes);
  const encodedAll = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
  return {
    raw: [secret],
    base64: once,
    base64url: once.map((text) => text.replaceAll("+", "-").replaceAll("/", "_")),
    "base64-twice": once.flatMap((text) => base64Forms(new TextEncoder().encode(text))),
    url: [
      encodeURIComponent(secret),
      encodeURIComponent(secret).replaceAll("%20", "+"),
      encodedAll,
      encodedAll.toUpperCase(),
    ],
    json: [JSON.stringify(secret).slice(1, -1), unicodeEscaped(secret)],
    html: [htmlEscaped(secret)],
    hex: [hex, hex.toUpperCase()],
    bytes: [bytes.join(","), bytes.join(", "), bytes.join(" ")],
    reversed: [reversed(secret), ...once.map(reversed)],
  };
}

/** Returns the part of the base64 that depends only on the secret, for each alignment. */
function base64Forms(bytes: Uint8Array): string[] {
  return [0, 1, 2].map((before) => {
    const padded = new Uint8Array(before + bytes.length);
    padded.set(bytes, before);
    const text = padded.toBase64();
    const end = Math.floor(padded.length / 3) * 4; // the last group depends on what follows
    return text.slice(before === 0 ? 0 : 4, end);
  });
}

function unicodeEscaped(text: string): string {
  return [...text].map((char) =>
    /[A-Za-z0-9]/.test(char)
      ? char
      : `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`
  ).join("");
}

function htmlEscaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

function reversed(text: string): string {
  return [...text].reverse().join("");
}

function alphanumericOf(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9]+/g, "");
}

function add(windows: Map<string, CanaryMatch>, text: string, match: CanaryMatch): void {
  for (let i = 0; i + WINDOW <= text.length; i++) {
    const window = text.slice(i, i + WINDOW);
    if (!windows.has(window)) windows.set(window, match);
  }
}
