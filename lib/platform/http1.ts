import type { Secret } from "../model/mod.ts";
import { tryClose } from "./files.ts";

/** A source of bytes, such as a `Deno.Conn`. */
export interface ByteSource {
  /** Resolves to the number of bytes read into the buffer, or to null at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

/** The start line and the headers of a request or a response. */
export interface MessageHead {
  readonly startLine: string;
  /** By lower-case name; repeated values are joined with `, `. */
  readonly headers: ReadonlyMap<string, string>;
}

/** How the length of a body is determined (RFC 9112, section 6.3). */
export type BodyFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly length: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "until-close" };

/** Thrown for a message that is malformed, exceeds a limit or is cut off. Never quotes the peer. */
export class HttpMessageError extends Error {
  override readonly name = "HttpMessageError";

  /** `too-long`: a line or a head; `too-large`: a body. */
  readonly reason: "malformed" | "too-long" | "too-large" | "incomplete";

  constructor(reason: HttpMessageError["reason"]) {
    super(`failed to read an HTTP message: ${reason}`);
    this.reason = reason;
  }
}

/** Default limit of a head. */
const MAX_HEAD_BYTES = 64 * 1024;
/** Limit of a chunk size with its extensions. */
const MAX_CHUNK_LINE_BYTES = 256;
/** Large enough for most messages of nydusd. */
const MIN_BUFFER_BYTES = 4 * 1024;
const MAX_READ_BYTES = 64 * 1024;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
const NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
// deno-lint-ignore no-control-regex -- these are rejected
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;
/** Headers that must not be repeated, because two readers could choose different values. */
const UNIQUE = new Set(["host", "content-length", "transfer-encoding"]);

const latin1 = new TextDecoder("latin1");
const encoder = new TextEncoder();

/**
 * Reads HTTP/1.1 messages from a connection, one after another. The cost is linear in the number of
 * bytes, even if they arrive one by one.
 *
 * `strict` rejects chunk extensions and trailers, which can be used for request smuggling.
 *
 * After a method has thrown {@linkcode HttpMessageError}, the connection must be closed.
 */
export class MessageReader {
  readonly #source: ByteSource;
  readonly #isStrict: boolean;
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #start = 0;
  #end = 0;
  /** The last short head and its bytes as text: a peer that is polled repeats it. */
  #last: { readonly text: string; readonly head: MessageHead } | undefined;

  constructor(source: ByteSource, { strict = false }: { readonly strict?: boolean } = {}) {
    this.#source = source;
    this.#isStrict = strict;
  }

  /** Whether bytes have arrived that no message has consumed yet. */
  get hasBufferedBytes(): boolean {
    return this.#end > this.#start;
  }

  /** Waits for the first byte of a message. Resolves to false at the end of the stream. */
  async begin(): Promise<boolean> {
    if (this.hasBufferedBytes) return true;
    if (this.#buffer.length > MIN_BUFFER_BYTES) this.#buffer = new Uint8Array(0);
    return await this.#fill(0);
  }

  /** Reads a head. Resolves to undefined if the connection ends before its first byte. */
  async head(
    { maxBytes = MAX_HEAD_BYTES, maxFields = Infinity }: {
      readonly maxBytes?: number;
      readonly maxFields?: number;
    } = {},
  ): Promise<MessageHead | undefined> {
    if (!await this.begin()) return undefined;
    if (this.#last !== undefined && this.#skip(this.#last.text)) return this.#last.head;
    const text = await this.#text(maxBytes, "section");
    const [startLine = "", ...fields] = text.split("\r\n");
    const head = { startLine, headers: headersOf(fields, maxFields) };
    if (text.length < MIN_BUFFER_BYTES) this.#last = { text: `${text}\r\n\r\n`, head };
    return head;
  }

  /** Consumes a text if it is buffered completely. */
  #skip(text: string): boolean {
    const end = this.#start + text.length;
    const buffered = this.#buffer.subarray(this.#start, Math.min(this.#end, end));
    if (latin1.decode(buffered) !== text) return false;
    this.#start = end;
    return true;
  }

  /** Yields a body as it arrives. Read it to its end before the next head. */
  async *body(framing: BodyFraming, maxBytes = Infinity): AsyncGenerator<Uint8Array, void> {
    switch (framing.kind) {
      case "none":
        return;
      case "length":
        if (framing.length > maxBytes) throw new HttpMessageError("too-large");
        return yield* this.#exactly(framing.length);
      case "chunked":
        return yield* this.#chunks(maxBytes);
      case "until-close":
        for (let size = 0; this.hasBufferedBytes || await this.#fill(MAX_READ_BYTES);) {
          const chunk = this.#take(MAX_READ_BYTES);
          size += chunk.length;
          if (size > maxBytes) throw new HttpMessageError("too-large");
          yield chunk;
        }
        return;
      default:
        framing satisfies never;
    }
  }

  /** Reads a complete body of at most `maxBytes`. */
  async wholeBody(framing: BodyFraming, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    if (framing.kind === "length" && framing.length <= Math.min(maxBytes, MIN_BUFFER_BYTES)) {
      const { length } = framing;
      while (this.#end - this.#start < length) {
        if (!await this.#fill(length)) throw new HttpMessageError("incomplete");
      }
      return this.#take(length);
    }
    const chunks = await Array.fromAsync(this.body(framing, maxBytes));
    const whole = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
    let at = 0;
    for (const chunk of chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return whole;
  }

  async *#chunks(maxBytes: number): AsyncGenerator<Uint8Array, void> {
    for (let rest = maxBytes;;) {
      const line = await this.#text(MAX_CHUNK_LINE_BYTES, "line");
      const [, digits = "", extension = ""] = /^([0-9a-f]{1,12})([\t ]*(?:;.*)?)$/i.exec(line) ??
        [];
      if (digits === "" || (this.#isStrict && extension !== "")) {
        throw new HttpMessageError("malformed");
      }
      const size = parseInt(digits, 16);
      if (size === 0) break;
      if (size > rest) throw new HttpMessageError("too-large");
      rest -= size;
      yield* this.#exactly(size);
      if (await this.#text(0, "line") !== "") throw new HttpMessageError("malformed");
    }
    const trailers = await this.#text(MAX_HEAD_BYTES, "section");
    if (this.#isStrict && trailers !== "") throw new HttpMessageError("malformed");
  }

  /** Reads a line, or lines up to an empty one, of at most `maxBytes`; without the last CRLF. */
  async #text(maxBytes: number, what: "line" | "section"): Promise<string> {
    let line = 0; // offset of the current line
    let searched = 0;
    while (true) {
      const at = this.#buffer.subarray(0, this.#end).indexOf(LINE_FEED, this.#start + searched);
      const isComplete = at >= 0;
      const length = (isComplete ? at - 1 : this.#end) - this.#start;
      if (length > maxBytes + (isComplete ? 0 : 1)) throw new HttpMessageError("too-long");
      if (!isComplete) {
        searched = length;
        if (!await this.#fill(0)) throw new HttpMessageError("incomplete");
        continue;
      }
      if (length < line || this.#buffer[at - 1] !== CARRIAGE_RETURN) {
        throw new HttpMessageError("malformed");
      }
      if (what === "line" || length === line) {
        const end = Math.max(length - (what === "line" ? 0 : 2), 0);
        const text = latin1.decode(this.#buffer.subarray(this.#start, this.#start + end));
        this.#start = at + 1;
        return text;
      }
      line = searched = length + 2;
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

  /** Consumes at most `limit` buffered bytes and returns a copy. */
  #take(limit: number): Uint8Array<ArrayBuffer> {
    const chunk = this.#buffer.slice(this.#start, Math.min(this.#end, this.#start + limit));
    this.#start += chunk.length;
    return chunk;
  }

  /**
   * Reads once, with space for `wantedBytes` more or the maximum. Resolves to false at the end of
   * the stream.
   */
  async #fill(wantedBytes: number): Promise<boolean> {
    if (this.#start === this.#end) this.#start = this.#end = 0;
    const buffered = this.#end - this.#start;
    const isFull = this.#end === this.#buffer.length;
    const least = isFull ? buffered : 0; // doubling bounds how often a byte is copied
    const wanted = buffered +
      Math.min(Math.max(wantedBytes, least, MIN_BUFFER_BYTES - buffered), MAX_READ_BYTES);
    if (wanted > this.#buffer.length || isFull) {
      const buffer = wanted > this.#buffer.length ? new Uint8Array(wanted) : this.#buffer;
      buffer.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = buffer;
      this.#start = 0;
      this.#end = buffered;
    }
    const count = await this.#source.read(this.#buffer.subarray(this.#end));
    if (count === null) return false;
    this.#end += count;
    return true;
  }
}

function headersOf(fields: readonly string[], maxFields: number): ReadonlyMap<string, string> {
  if (fields.length > maxFields) throw new HttpMessageError("too-long");
  const headers = new Map<string, string>();
  for (const field of fields) {
    const colon = field.indexOf(":");
    const name = field.slice(0, Math.max(colon, 0)).toLowerCase();
    const value = field.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "");
    const before = headers.get(name);
    const isRepeated = before !== undefined && UNIQUE.has(name);
    if (!NAME.test(name) || CONTROL.test(value) || isRepeated) {
      throw new HttpMessageError("malformed");
    }
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

/**
 * Returns how the length of a body is determined, from the headers only: responses to HEAD and
 * responses with status 1xx, 204 or 304 never have a body.
 *
 * @param options `unmarked`: the framing if there is no length; `none` for requests.
 * @throws {HttpMessageError} for lengths that two readers could interpret differently.
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

/** Returns a head as text. Throws a `TypeError` for invalid values, without quoting them. */
export function writeHead(
  startLine: string,
  headers: Iterable<readonly [name: string, value: string]>,
): string {
  let head = `${startLine}\r\n`;
  if (CONTROL.test(startLine)) {
    throw new TypeError("failed to write an HTTP message: invalid start line");
  }
  for (const [name, value] of headers) {
    if (!NAME.test(name) || CONTROL.test(value)) {
      throw new TypeError("failed to write an HTTP message: invalid header");
    }
    head += `${name}: ${value}\r\n`;
  }
  return `${head}\r\n`;
}

/** A connection to a peer: a `Deno.Conn`, or TLS over it. */
export interface ByteStream extends ByteSource {
  /** Resolves to the number of bytes written. */
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
  ref?(): void;
  unref?(): void;
}

/** Writes all bytes; a single write may be partial. */
export async function writeAll(
  stream: Pick<ByteStream, "write">,
  bytes: Uint8Array,
): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) rest = rest.subarray(await stream.write(rest));
}

/** A request; the client adds `Content-Length`. */
export interface ClientRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body?: Secret | undefined;
}

/** The head of a response. */
export interface ClientResponse {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly framing: BodyFraming;
  /** Whether the peer can serve another request on this connection. */
  readonly keepAlive: boolean;
}

/** The client side of an HTTP/1.1 connection; sends one request at a time. */
export class ClientConnection {
  readonly reader: MessageReader;
  readonly #stream: ByteStream;
  #nextHead: Promise<MessageHead | undefined> | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    this.reader = new MessageReader(stream);
  }

  /**
   * Sends a request and reads the head of its response. Read the body from `reader`.
   *
   * @throws {HttpMessageError} if the peer closes the connection or does not respond with HTTP/1.1.
   */
  async send({ method, target, headers, body }: ClientRequest): Promise<ClientResponse> {
    const text = body?.reveal() ?? "";
    const length = body === undefined && method !== "POST" && method !== "PUT"
      ? []
      : [["Content-Length", String(encoder.encode(text).length)] as const];
    const requestHead = writeHead(`${method} ${target} HTTP/1.1`, [...headers, ...length]);
    this.#stream.ref?.();
    await writeAll(this.#stream, encoder.encode(requestHead + text));
    while (true) {
      const head = await (this.#nextHead ?? this.reader.head());
      this.#nextHead = undefined;
      if (head === undefined) throw new HttpMessageError("incomplete");
      const [, minor, code] = /^HTTP\/1\.([01]) (\d{3})(?: |$)/.exec(head.startLine) ?? [];
      const status = Number(code);
      if (!(status >= 100)) throw new HttpMessageError("malformed");
      if (status < 200) continue; // informational: the response follows
      const framing: BodyFraming = method === "HEAD" || status === 204 || status === 304
        ? { kind: "none" }
        : bodyFraming(head.headers, { unmarked: "until-close" });
      const keepAlive = minor === "1" && framing.kind !== "until-close" &&
        !/\bclose\b/i.test(head.headers.get("connection") ?? "");
      return { status, headers: head.headers, framing, keepAlive };
    }
  }

  /**
   * Keeps the connection open for the next request without keeping the process alive.
   *
   * @param ended Called if the peer closes the connection or sends unrequested data, and when the
   * response to the next request arrives.
   */
  idle(ended: () => void): void {
    this.#nextHead = this.reader.head();
    this.#nextHead.then(ended, ended);
    this.#stream.unref?.();
  }

  close(): void {
    tryClose(this.#stream);
  }
}

/** Reads at most `maxBytes` of a body as text; `isCut` if it is longer. */
export async function readText(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<{ readonly text: string; readonly isCut: boolean }> {
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    const isCut = size > maxBytes;
    const kept = isCut ? chunk.subarray(0, chunk.length - (size - maxBytes)) : chunk;
    parts.push(decoder.decode(kept, { stream: true }));
    if (isCut) return { text: parts.join(""), isCut };
  }
  return { text: parts.join("") + decoder.decode(), isCut: false };
}
