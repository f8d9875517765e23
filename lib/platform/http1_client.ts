import type { Secret } from "../model/mod.ts";
import { tryClose } from "./file_operations.ts";
import {
  type BodyFraming,
  bodyFraming,
  type ByteSource,
  HttpMessageError,
  type MessageHead,
  MessageReader,
  writeHead,
} from "./http1_message.ts";

/** A connection to a peer: a `Deno.Conn`, or TLS over it. */
export interface ByteStream extends ByteSource {
  /** Resolves to the number of bytes written. */
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
  ref?(): void;
  unref?(): void;
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

/** A response whose body is read as it arrives. */
export interface OpenedResponse {
  readonly status: number;
  readonly headers: Iterable<readonly [name: string, value: string]> & {
    get(name: string): string | null | undefined;
  };
  readonly body: AsyncIterable<Uint8Array>;
}

const encoder = new TextEncoder();

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
    let rest = encoder.encode(requestHead + text);
    while (rest.length > 0) rest = rest.subarray(await this.#stream.write(rest));
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

/**
 * Sends one request and closes the connection when the body has been read or abandoned, or when
 * `signal` aborts.
 */
export async function openResponse(
  stream: ByteStream,
  { headers, ...request }: ClientRequest,
  signal: AbortSignal,
): Promise<OpenedResponse> {
  const connection = new ClientConnection(stream);
  const close = () => connection.close();
  signal.addEventListener("abort", close);
  const ended = () => {
    signal.removeEventListener("abort", close);
    close();
  };
  try {
    signal.throwIfAborted();
    const once = [["Connection", "close"], ["User-Agent", "nydus-auth-agent"]] as const;
    const response = await connection.send({ ...request, headers: [...headers, ...once] });
    const body = async function* () {
      try {
        yield* connection.reader.body(response.framing);
        signal.throwIfAborted(); // an aborted read is indistinguishable from the end of the stream
      } finally {
        ended();
      }
    };
    return { status: response.status, headers: response.headers, body: body() };
  } catch (error) {
    ended();
    throw error;
  }
}
