/** Where bytes come from: a `Deno.Conn`, or what reads like one. */
export interface ByteSource {
  /** Resolves to the number of bytes read into the buffer, or to null at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

/** Start line and headers of a request or a response. */
export interface MessageHead {
  readonly startLine: string;
  /** By name in lower case; values of one name are joined with `, `. */
  readonly headers: ReadonlyMap<string, string>;
}

/** How the end of a body is found (RFC 9112, section 6.3). */
export type BodyFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly length: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "until-close" };

/** Thrown for what is not HTTP/1.1, exceeds a limit, or ends too early. Never quotes the peer. */
export class HttpMessageError extends Error {
  override readonly name = "HttpMessageError";

  readonly reason: "malformed" | "too-long" | "incomplete";

  constructor(reason: HttpMessageError["reason"]) {
    super(`read HTTP message: ${reason}`);
    this.reason = reason;
  }
}

/** The default limit of a head. */
const MAX_HEAD_BYTES = 64 * 1024;
/** A chunk's size and its extensions. */
const MAX_CHUNK_LINE_BYTES = 1_024;
/** Most messages of nydusd fit. */
const MIN_BUFFER_BYTES = 4 * 1024;
const MAX_READ_BYTES = 64 * 1024;
const LINE_FEED = 10;
const NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
// deno-lint-ignore no-control-regex -- these are refused
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;

const latin1 = new TextDecoder("latin1");

/**
 * Reads HTTP/1.1 messages from a connection, one after the other. The cost is proportional to the
 * number of bytes, in however small pieces they arrive.
 *
 * Each method throws {@linkcode HttpMessageError}; the connection cannot be used any more then.
 */
export class MessageReader {
  readonly #source: ByteSource;
  #buffer = new Uint8Array(0);
  #start = 0;
  #end = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Whether bytes arrived that no message has claimed yet. */
  get hasBufferedBytes(): boolean {
    return this.#end > this.#start;
  }

  /** Reads a head; resolves to undefined if the connection ends before its first byte. */
  async head(
    { maxBytes = MAX_HEAD_BYTES }: { readonly maxBytes?: number } = {},
  ): Promise<MessageHead | undefined> {
    if (!this.hasBufferedBytes) {
      if (this.#buffer.length > MIN_BUFFER_BYTES) this.#buffer = new Uint8Array(0);
      if (!await this.#fill(0)) return undefined;
    }
    const startLine = await this.#line(maxBytes);
    return { startLine, headers: await this.#fields(maxBytes - startLine.length) };
  }

  /** Reads a body as it arrives. To be read to its end before the next head. */
  async *body(framing: BodyFraming): AsyncGenerator<Uint8Array, void> {
    switch (framing.kind) {
      case "none":
        return;
      case "length":
        return yield* this.#exactly(framing.length);
      case "chunked":
        while (true) {
          const line = await this.#line(MAX_CHUNK_LINE_BYTES);
          const [, digits = ""] = /^([0-9a-f]{1,12})[\t ]*(?:;|$)/i.exec(line) ?? [];
          if (digits === "") throw new HttpMessageError("malformed");
          const size = parseInt(digits, 16);
          if (size === 0) break;
          yield* this.#exactly(size);
          if (await this.#line(0) !== "") throw new HttpMessageError("malformed");
        }
        await this.#fields(MAX_HEAD_BYTES); // trailers, which are ignored
        return;
      case "until-close":
        while (this.hasBufferedBytes || await this.#fill(MAX_READ_BYTES)) {
          yield this.#take(MAX_READ_BYTES);
        }
        return;
      default:
        framing satisfies never;
    }
  }

  /** Reads a whole body; resolves to undefined, with the rest unread, if it is too long. */
  async wholeBody(framing: BodyFraming, maxBytes: number): Promise<Uint8Array | undefined> {
    if (framing.kind === "length" && framing.length > maxBytes) return undefined;
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.body(framing)) {
      size += chunk.length;
      if (size > maxBytes) return undefined;
      chunks.push(chunk);
    }
    if (chunks.length === 1 && chunks[0] !== undefined) return chunks[0];
    const whole = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return whole;
  }

  async #fields(maxBytes: number): Promise<ReadonlyMap<string, string>> {
    const fields = new Map<string, string>();
    let restBytes = maxBytes;
    for (let line = await this.#line(restBytes); line !== ""; line = await this.#line(restBytes)) {
      restBytes -= line.length + 2;
      const colon = line.indexOf(":");
      const name = line.slice(0, Math.max(colon, 0));
      const value = line.slice(colon + 1).trim();
      if (!NAME.test(name) || CONTROL.test(value)) throw new HttpMessageError("malformed");
      const key = name.toLowerCase();
      const before = fields.get(key);
      fields.set(key, before === undefined ? value : `${before}, ${value}`);
    }
    return fields;
  }

  /** A line of at most `maxBytes`, without its CRLF. */
  async #line(maxBytes: number): Promise<string> {
    let searched = 0;
    while (true) {
      const at = this.#buffer.subarray(this.#start + searched, this.#end).indexOf(LINE_FEED);
      const length = at < 0 ? this.#end - this.#start : searched + at - 1;
      if (length > maxBytes + (at < 0 ? 1 : 0)) throw new HttpMessageError("too-long");
      if (at >= 0) {
        const line = latin1.decode(this.#buffer.subarray(this.#start, this.#start + length + 1));
        if (!line.endsWith("\r")) throw new HttpMessageError("malformed");
        this.#start += length + 2;
        return line.slice(0, -1);
      }
      searched = length;
      if (!await this.#fill(0)) throw new HttpMessageError("incomplete");
    }
  }

  async *#exactly(length: number): AsyncGenerator<Uint8Array, void> {
    for (let rest = length; rest > 0;) {
      if (!this.hasBufferedBytes && !await this.#fill(rest)) {
        throw new HttpMessageError("incomplete");
      }
      const chunk = this.#take(rest);
      rest -= chunk.length;
      yield chunk;
    }
  }

  /** A copy of at most `limit` buffered bytes. */
  #take(limit: number): Uint8Array {
    const chunk = this.#buffer.slice(this.#start, Math.min(this.#end, this.#start + limit));
    this.#start += chunk.length;
    return chunk;
  }

  /** Reads once, with room for at least `room` more bytes within reason. False at the end. */
  async #fill(room: number): Promise<boolean> {
    if (this.#start === this.#end) this.#start = this.#end = 0;
    const currentAuth = this.#end - this.#start;
    const isFull = this.#end === this.#buffer.length;
    const least = isFull ? currentAuth : 0; // doubles: each byte is copied a bounded number of times
    const wanted = currentAuth +
      Math.min(Math.max(room, least, MIN_BUFFER_BYTES - currentAuth), MAX_READ_BYTES);
    if (wanted > this.#buffer.length || isFull) {
      const buffer = wanted > this.#buffer.length ? new Uint8Array(wanted) : this.#buffer;
      buffer.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = buffer;
      this.#start = 0;
      this.#end = currentAuth;
    }
    const count = await this.#source.read(this.#buffer.subarray(this.#end));
    if (count === null) return false;
    this.#end += count;
    return true;
  }
}

/**
 * Returns how the end of a body is found, from the headers alone: a response to HEAD, and one with
 * status 1xx, 204 or 304, has no body whatever they say.
 *
 * @param options `unmarked`: how a body without length ends, which no request has.
 * @throws {HttpMessageError} for lengths that two readers might understand differently.
 */
export function bodyFraming(
  headers: ReadonlyMap<string, string>,
  { unmarked }: { readonly unmarked: "none" | "until-close" },
): BodyFraming {
  const encoding = headers.get("transfer-encoding");
  const length = headers.get("content-length");
  if (encoding !== undefined) {
    if (encoding.toLowerCase() !== "chunked" || length !== undefined) {
      throw new HttpMessageError("malformed");
    }
    return { kind: "chunked" };
  }
  if (length === undefined) return { kind: unmarked };
  if (!/^\d{1,15}$/.test(length)) throw new HttpMessageError("malformed");
  return { kind: "length", length: Number(length) };
}

/** Writes a head. Throws a `TypeError` for what cannot stand there, which it does not quote. */
export function writeHead(
  startLine: string,
  headers: Iterable<readonly [name: string, value: string]>,
): string {
  let head = `${startLine}\r\n`;
  if (CONTROL.test(startLine)) throw new TypeError("write HTTP message: invalid start line");
  for (const [name, value] of headers) {
    if (!NAME.test(name) || CONTROL.test(value)) {
      throw new TypeError("write HTTP message: invalid header");
    }
    head += `${name}: ${value}\r\n`;
  }
  return `${head}\r\n`;
}
