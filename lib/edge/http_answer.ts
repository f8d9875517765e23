import { AgentError } from "../model/mod.ts";

/** The head of an answer, and its body as it comes. */
export interface OpenedAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: AsyncGenerator<Uint8Array>;
}

const MAX_HEAD_BYTES = 64 * 1024;
/** A chunk's size, and whatever else stands in its line. */
const MAX_SIZE_BYTES = 1_024;

/**
 * Reads an answer of HTTP/1.1 off a connection. The work is in proportion to what came, in however
 * small pieces it comes.
 *
 * @throws {AgentError} `invalid-response` where it is none; so does the body.
 */
export async function readHttpAnswer(
  chunks: AsyncIterable<Uint8Array>,
  { hasBody = true }: { readonly hasBody?: boolean } = {},
): Promise<OpenedAnswer> {
  const bytes = new ByteReader(chunks);
  const [statusLine = "", ...lines] = (await bytes.until("\r\n\r\n", MAX_HEAD_BYTES)).split("\r\n");
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1]);
  if (!(status >= 200)) throw broken("it is not HTTP");
  const headers = headersOf(lines);
  return { status, headers, body: hasBody ? bodyOf(bytes, headers) : noBody() };
}

function broken(what: string): AgentError {
  return new AgentError("invalid-response", `read answer: ${what}`);
}

function headersOf(lines: readonly string[]): Headers {
  try {
    return new Headers(lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }));
  } catch {
    throw broken("it is not HTTP"); // no name, or what cannot stand in a header
  }
}

async function* bodyOf(bytes: ByteReader, headers: Headers): AsyncGenerator<Uint8Array> {
  if (/\bchunked\b/i.test(headers.get("transfer-encoding") ?? "")) {
    while (true) {
      const [digits = ""] = /^[0-9a-f]{1,12}/i.exec(await bytes.until("\r\n", MAX_SIZE_BYTES)) ??
        [];
      const size = parseInt(digits, 16);
      if (!(size >= 0)) throw broken("a chunk has no size");
      if (size === 0) return;
      yield* exactly(bytes, size);
      await bytes.until("\r\n", 2);
    }
  }
  const length = headers.get("content-length");
  if (length !== null) {
    if (!/^\d{1,15}$/.test(length)) throw broken("it has no length");
    return yield* exactly(bytes, Number(length));
  }
  for (
    let some = await bytes.some(Infinity);
    some !== undefined;
    some = await bytes.some(Infinity)
  ) {
    yield some;
  }
}

async function* noBody(): AsyncGenerator<Uint8Array> {
  // The answer to a HEAD ends with its head, whatever length that tells.
}

async function* exactly(bytes: ByteReader, size: number): AsyncGenerator<Uint8Array> {
  for (let rest = size; rest > 0;) {
    const some = await bytes.some(rest);
    if (some === undefined) throw broken("it was cut");
    rest -= some.length;
    yield some;
  }
}

/** Bytes as they come, taken in the portions that HTTP speaks of. */
class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Everything before a mark, which is taken too. ASCII. Nothing is looked at twice. */
  async until(mark: string, maxBytes: number): Promise<string> {
    const decoder = new TextDecoder("latin1");
    let text = "";
    while (true) {
      const from = Math.max(0, text.length - mark.length + 1);
      text += decoder.decode(this.#take(maxBytes + mark.length - text.length));
      const at = text.indexOf(mark, from);
      if (at >= 0) {
        this.#putBack(text.slice(at + mark.length));
        return text.slice(0, at);
      }
      if (text.length >= maxBytes + mark.length || !await this.#more()) {
        throw broken("it is not HTTP, or was cut");
      }
    }
  }

  /** At most `limit` bytes of what comes next; undefined at the end. */
  async some(limit: number): Promise<Uint8Array | undefined> {
    while (this.#held.length === 0) if (!await this.#more()) return undefined;
    return this.#take(limit);
  }

  #take(limit: number): Uint8Array {
    const taken = this.#held.subarray(0, limit);
    this.#held = this.#held.subarray(taken.length);
    return taken;
  }

  /** What was taken last, and is not wanted after all. */
  #putBack(text: string): void {
    const { buffer, byteOffset, length } = this.#held;
    this.#held = new Uint8Array(buffer, byteOffset - text.length, length + text.length);
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#chunks.next();
    if (done) return false;
    this.#held = value;
    return true;
  }
}
