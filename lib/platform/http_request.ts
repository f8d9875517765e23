import {
  bodyFraming,
  type ByteSource,
  HttpMessageError,
  MessageReader,
  writeHead,
} from "./http1.ts";

/** Limits of a request. */
const MAX_HEAD_BYTES = 16_384;
const MAX_HEADERS = 100;
const MAX_TARGET_LENGTH = 8_192;
const MAX_BODY_BYTES = 65_536;

/** A request that was read completely. */
export interface HttpRequest {
  readonly method: string;
  /** Path and query, starting with a slash. */
  readonly target: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
  /** Whether the client may send another request over this connection. */
  readonly keepAlive: boolean;
}

/** Thrown for a request that gets an error status, after which the connection is closed. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: 400 | 413 | 414 | 431 | 501 | 505;

  constructor(status: RequestError["status"]) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

const HOST = /^[A-Za-z0-9.\-_:[\]]*$/;
/** First line of an HTTP/2 connection, which is closed without a response. */
const PREFACE = "PRI * HTTP/2.0";

/**
 * Reads HTTP/1.0 and HTTP/1.1 requests from a connection, one after another. Rejects everything that
 * two readers could interpret differently (RFC 9112, section 11.2).
 */
export class HttpRequestReader {
  readonly #reader: MessageReader;

  constructor(source: ByteSource) {
    this.#reader = new MessageReader(source, { strict: true });
  }

  /** Waits for the first byte of a request. Resolves to false at the end of the stream. */
  begin(): Promise<boolean> {
    return this.#reader.begin();
  }

  /**
   * Reads a request. Resolves to undefined if the stream ends first, and for HTTP/2.
   *
   * @throws {RequestError} if the request is malformed or exceeds a limit.
   */
  async next(onHead: () => void = () => {}): Promise<HttpRequest | undefined> {
    let hasHead = false;
    try {
      const message = await this.#reader.head({ maxBytes: MAX_HEAD_BYTES, maxFields: MAX_HEADERS });
      if (message === undefined || message.startLine === PREFACE) return undefined;
      const { framing, ...head } = parseHead(message.startLine, new Headers([...message.headers]));
      hasHead = true;
      onHead();
      return { ...head, body: await this.#reader.wholeBody(framing, MAX_BODY_BYTES) };
    } catch (error) {
      if (!(error instanceof HttpMessageError)) throw error;
      if (error.reason === "incomplete") return undefined;
      if (error.reason === "too-large") throw new RequestError(413);
      throw new RequestError(error.reason === "too-long" && !hasHead ? 431 : 400);
    }
  }
}

function parseHead(startLine: string, headers: Headers) {
  const parts = /^([A-Z]{1,16}) ([\x21-\x7e]+) HTTP\/1\.([01])$/.exec(startLine) ?? [];
  const [, method, target, minor] = parts;
  if (method === undefined || target === undefined) {
    throw new RequestError(/ HTTP\/[02-9]\.\d$/.test(startLine) ? 505 : 400);
  }
  if (target.length > MAX_TARGET_LENGTH) throw new RequestError(414);
  const isHttp11 = minor === "1";
  const host = headers.get("host");
  if (host === null ? isHttp11 : !HOST.test(host)) throw new RequestError(400);
  const options = (headers.get("connection") ?? "").toLowerCase().split(",");
  const keepAlive = isHttp11 && !options.some((option) => option.trim() === "close");
  // Deno's own client sends the absolute form to unix sockets. Two different hosts are rejected.
  const [, authority, path = target] = /^http:\/\/([^/?#]*)(.*)$/i.exec(target) ?? [];
  if (authority !== undefined && authority !== host) throw new RequestError(400);
  if (!path.startsWith("/") || path.includes("#")) throw new RequestError(400);
  const coding = headers.get("transfer-encoding");
  if (coding !== null && (headers.has("content-length") || !isHttp11)) throw new RequestError(400);
  if (coding !== null && coding.toLowerCase() !== "chunked") throw new RequestError(501);
  const framing = bodyFraming(new Map(headers), { unmarked: "none" });
  return { method, target: path, headers, keepAlive, framing };
}

/**
 * Converts a request for a handler.
 *
 * @throws {RequestError} 400 for requests that `Request` does not accept.
 */
export function requestOf({ method, target, headers, body }: HttpRequest): Request {
  try {
    const url = `http://${headers.get("host") || "localhost"}${target}`;
    const hasBody = method !== "GET" && method !== "HEAD" && body.length > 0;
    return new Request(url, { method, headers, ...(hasBody && { body }) });
  } catch {
    throw new RequestError(400);
  }
}

/** Returns the head of a response; the body has to match `content-length`. */
export function headOf(status: number, headers: Headers, keepAlive: boolean): Uint8Array {
  const own = [...headers].filter(([name]) =>
    name !== "connection" && name !== "transfer-encoding"
  );
  return new TextEncoder().encode(writeHead(`HTTP/1.1 ${status} `, [
    ["date", new Date().toUTCString()],
    ...own,
    ["connection", keepAlive ? "keep-alive" : "close"],
  ]));
}

/** Returns the response that is sent when a limit is reached. */
export function busyResponse(): Uint8Array {
  return headOf(503, new Headers({ "retry-after": "1", "content-length": "0" }), false);
}
