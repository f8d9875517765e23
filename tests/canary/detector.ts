/** How a secret was written where it was found. */
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

/** A marked secret that was found, without the secret itself. */
export interface CanaryFind {
  /** The name that the secret was planted under. */
  readonly source: string;
  readonly form: CanaryForm;
}

/** As many characters of a form, in a row, count as a find: a cut or a half is one as well. */
const WINDOW = 12;
/** A random text of this length cannot be found by chance, and a half of it still fills a window. */
export const MIN_CANARY_LENGTH = 2 * WINDOW;

/**
 * Finds marked secrets in any text, in whatever form someone wrote them: whole or in part, encoded,
 * escaped, reversed, or with something between the characters.
 */
export class CanaryDetector {
  /** Every window of every form. */
  readonly #windows = new Map<string, CanaryFind>();
  /** The same for texts of which only letters and digits are left. */
  readonly #bare = new Map<string, CanaryFind>();

  /** @param secrets By the name of the source that gives it. */
  constructor(secrets: Readonly<Record<string, string>>) {
    for (const [source, secret] of Object.entries(secrets)) {
      if (secret.length < MIN_CANARY_LENGTH) {
        throw new RangeError(`plant ${source}: below ${MIN_CANARY_LENGTH} characters`);
      }
      for (const [form, texts] of Object.entries(formsOf(secret))) {
        for (const text of texts) add(this.#windows, text, { source, form: form as CanaryForm });
      }
      add(this.#bare, bare(secret), { source, form: "split" });
      add(this.#bare, reversed(bare(secret)), { source, form: "split" });
    }
  }

  /** What is in a text; each source and form once. */
  find(text: string): readonly CanaryFind[] {
    const finds = new Map<string, CanaryFind>();
    const look = (windows: ReadonlyMap<string, CanaryFind>, within: string) => {
      for (let i = 0; i + WINDOW <= within.length; i++) {
        const find = windows.get(within.slice(i, i + WINDOW));
        if (find !== undefined) finds.set(`${find.source} ${find.form}`, find);
      }
    };
    look(this.#windows, text);
    look(this.#windows, text.toLowerCase().replaceAll(/[\s:]+/g, "")); // hex dumps
    look(this.#windows, text.replaceAll(/\s+/g, "")); // base64 with line ends
    look(this.#bare, bare(text));
    return [...finds.values()];
  }
}

/** A secret that nothing but itself looks like, with every character that some escaping changes. */
export function newCanary(): string {
  const part = () => crypto.getRandomValues(new Uint8Array(18)).toBase64();
  return `${part()}"\\&<${part()}%é+ ${part()}`;
}

/** The same for places that take no more than letters, digits, dash and dot, as tokens do. */
export function newTokenCanary(): string {
  return crypto.getRandomValues(new Uint8Array(36)).toHex() + ".canary";
}

/** Whether a text holds one of these secrets whole, raw or in base64: for secrets of any shape. */
export function holdsWhole(text: string, secrets: readonly string[]): boolean {
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

/** What of an encoding depends on the secret alone, at each of the three alignments. */
function base64Forms(bytes: Uint8Array): string[] {
  return [0, 1, 2].map((before) => {
    const padded = new Uint8Array(before + bytes.length);
    padded.set(bytes, before);
    const text = padded.toBase64();
    const whole = Math.floor(padded.length / 3) * 4; // the last group may hold what follows
    return text.slice(before === 0 ? 0 : 4, whole);
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

function bare(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9]+/g, "");
}

function add(windows: Map<string, CanaryFind>, text: string, find: CanaryFind): void {
  for (let i = 0; i + WINDOW <= text.length; i++) {
    const window = text.slice(i, i + WINDOW);
    if (!windows.has(window)) windows.set(window, find);
  }
}
