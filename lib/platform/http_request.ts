/** Bytes that arrive over a connection. */
export interface ByteSource {
  /** Null at the end of the stream. */
  read(into: Uint8Array): Promise<number | null>;
}

/** Bounds of a request. */
export const REQUEST_LIMITS = {
  headBytes: 16_384,
  headers: 100,
  targetLength: 8_192,
  bodyBytes: 65_536,
} as const;

/** A request that was read completely. */
export interface HttpRequest {
  readonly method: string;
  /** Path and query, beginning with a slash. */
  readonly target: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
  /** Whether the client may send another request over this connection. */
  readonly keepAlive: boolean;
}

/** Thrown for a request that is answered with an error status, after which the connection ends. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: 400 | 413 | 414 | 431 | 501 | 505;

  constructor(status: RequestError["status"]) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

const CR = 13;
const LF = 10;
const BUFFER_BYTES = 2_048;
const MAX_CHUNK_LINE_BYTES = 256;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HOST = /^[A-Za-z0-9.\-_:[\]]*$/;
const PREFACE = "PRI * HTTP/2.0";
const latin1 = new TextDecoder("latin1");

type Head = Omit<HttpRequest, "body"> & { readonly bodyBytes: number | "chunked" };

/**
 * Reads HTTP/1.0 and HTTP/1.1 requests from a connection, one after another. It is strict: whatever
 * two readers could understand differently (RFC 9112, section 11.2) is refused.
 */
export class HttpRequestReader {
  readonly #source: ByteSource;
  #buffer = new Uint8Array(BUFFER_BYTES);
  #start = 0;
  #end = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Waits for the first byte of a request. Returns false at the end of the stream. */
  async begin(): Promise<boolean> {
    return this.#bytes.length > 0 || await this.#more();
  }

  /**
   * Reads a request. Returns undefined when the stream ends first, and for the preface of HTTP/2.
   *
   * @throws {RequestError} when it is malformed or exceeds a limit.
   */
  async next(onHead: () => void = () => {}): Promise<HttpRequest | undefined> {
    const text = await this.#head();
    if (text === undefined) return undefined;
    const { bodyBytes, ...head } = parseHead(text);
    onHead();
    const body = bodyBytes === "chunked" ? await this.#chunks() : await this.#exactly(bodyBytes);
    return body && { ...head, body };
  }

  /** The lines of a head, without the empty line that ends it. */
  async #head(): Promise<string | undefined> {
    for (let from = 0;;) {
      if (latin1.decode(this.#bytes.subarray(0, PREFACE.length)) === PREFACE) return undefined;
      const end = endOfHead(this.#bytes, from);
      if (end > REQUEST_LIMITS.headBytes) throw new RequestError(431);
      if (end >= 0) {
        const text = latin1.decode(this.#bytes.subarray(0, end));
        this.#skip(end + 4);
        return text;
      }
      if (this.#bytes.length > REQUEST_LIMITS.headBytes) throw new RequestError(431);
      from = Math.max(0, this.#bytes.length - 3);
      if (!await this.#more()) return undefined;
    }
  }

  async #exactly(count: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    while (this.#bytes.length < count) if (!await this.#more()) return undefined;
    const taken = this.#bytes.slice(0, count);
    this.#skip(count);
    return taken;
  }

  async #chunks(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const body = new Uint8Array(REQUEST_LIMITS.bodyBytes);
    let length = 0;
    while (true) {
      const line = await this.#line();
      if (line === undefined) return undefined;
      // Chunk extensions have no use, and were used to smuggle requests.
      if (!/^[0-9A-Fa-f]{1,8}$/.test(line)) throw new RequestError(400);
      const size = parseInt(line, 16);
      if (length + size > body.length) throw new RequestError(413);
      const data = await this.#exactly(size);
      const end = await this.#exactly(2);
      if (data === undefined || end === undefined) return undefined;
      // Also refuses trailers, which nobody sends us.
      if (end[0] !== CR || end[1] !== LF) throw new RequestError(400);
      if (size === 0) return body.slice(0, length);
      body.set(data, length);
      length += size;
    }
  }

  async #line(): Promise<string | undefined> {
    while (true) {
      const end = this.#bytes.indexOf(LF);
      if (end > MAX_CHUNK_LINE_BYTES || (end < 0 && this.#bytes.length > MAX_CHUNK_LINE_BYTES)) {
        throw new RequestError(400);
      }
      if (end >= 0) {
        if (this.#bytes[end - 1] !== CR) throw new RequestError(400);
        const text = latin1.decode(this.#bytes.subarray(0, end - 1));
        this.#skip(end + 1);
        return text;
      }
      if (!await this.#more()) return undefined;
    }
  }

  /** The bytes that have arrived and were not taken. */
  get #bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  #skip(count: number): void {
    this.#start += count;
    if (this.#start === this.#end) this.#start = this.#end = 0;
  }

  /** The buffer doubles, so that the work is linear in what arrives, in any pieces. */
  async #more(): Promise<boolean> {
    if (this.#end === this.#buffer.length) {
      const live = this.#bytes;
      const isFull = live.length > this.#buffer.length / 2;
      const next = isFull ? new Uint8Array(this.#buffer.length * 2) : this.#buffer;
      next.set(live);
      this.#buffer = next;
      this.#start = 0;
      this.#end = live.length;
    }
    const count = await this.#source.read(this.#buffer.subarray(this.#end));
    if (count === null) return false;
    this.#end += count;
    return true;
  }
}

/** Index of the empty line that ends a head; -1 when it has not arrived. */
function endOfHead(bytes: Uint8Array, from: number): number {
  for (let i = from; i + 3 < bytes.length; i++) {
    if (bytes[i] === CR && bytes[i + 1] === LF && bytes[i + 2] === CR && bytes[i + 3] === LF) {
      return i;
    }
  }
  return -1;
}

function parseHead(text: string): Head {
  const [first = "", ...lines] = text.split("\r\n");
  const [, method, target, minor] = /^([A-Z]{1,16}) ([\x21-\x7e]+) HTTP\/1\.([01])$/.exec(first) ??
    [];
  if (method === undefined || target === undefined) {
    throw new RequestError(/ HTTP\/[02-9]\.\d$/.test(first) ? 505 : 400);
  }
  if (target.length > REQUEST_LIMITS.targetLength) throw new RequestError(414);
  const headers = parseHeaders(lines);
  const isHttp11 = minor === "1";
  const host = headers.get("host");
  if (host === null ? isHttp11 : !HOST.test(host)) throw new RequestError(400);
  const options = (headers.get("connection") ?? "").toLowerCase().split(",");
  const keepAlive = isHttp11 && !options.some((option) => option.trim() === "close");
  // Deno's own client sends the absolute form to unix sockets. Two names for a host are refused.
  const [, authority, path = target] = /^http:\/\/([^/?#]*)(.*)$/i.exec(target) ?? [];
  if (authority !== undefined && authority !== host) throw new RequestError(400);
  if (!path.startsWith("/") || path.includes("#")) throw new RequestError(400);
  return { method, target: path, headers, keepAlive, bodyBytes: bodyLength(headers, isHttp11) };
}

function parseHeaders(lines: readonly string[]): Headers {
  if (lines.length > REQUEST_LIMITS.headers) throw new RequestError(431);
  const headers = new Headers();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon));
    const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "");
    // A name with white space, a folded line, a bare CR or LF, a control character.
    // deno-lint-ignore no-control-regex
    if (!TOKEN.test(name) || /[\x00-\x08\x0a-\x1f\x7f]/.test(value)) throw new RequestError(400);
    const isUnique = /^(?:host|content-length|transfer-encoding)$/i.test(name);
    if (isUnique && headers.has(name)) throw new RequestError(400);
    headers.append(name, value);
  }
  return headers;
}

function bodyLength(headers: Headers, isHttp11: boolean): number | "chunked" {
  const coding = headers.get("transfer-encoding");
  const length = headers.get("content-length");
  if (coding !== null) {
    if (length !== null || !isHttp11) throw new RequestError(400);
    if (coding.toLowerCase() !== "chunked") throw new RequestError(501);
    return "chunked";
  }
  if (length === null) return 0;
  if (!/^\d{1,15}$/.test(length)) throw new RequestError(400);
  if (Number(length) > REQUEST_LIMITS.bodyBytes) throw new RequestError(413);
  return Number(length);
}
