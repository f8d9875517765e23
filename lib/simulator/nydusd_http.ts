/** A response. */
export interface RawAnswer {
  readonly status: number;
  readonly body?: string;
}

/**
 * A fault of a daemon, as observed on real ones. `unresponsive`: requests are not answered until the
 * fault is removed; `truncated`: the connection is closed in the middle of each response.
 */
export type Fault = "none" | "error-500" | "unresponsive" | "slow" | "truncated";

const SLOW_MS = 600;

/** The current fault of a daemon. */
export class FaultSwitch {
  #fault: Fault = "none";
  #changed = Promise.withResolvers<void>();

  get fault(): Fault {
    return this.#fault;
  }

  set(fault: Fault): void {
    this.#fault = fault;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Resolves when the daemon is not `unresponsive`. */
  async responsive(): Promise<void> {
    while (this.#fault === "unresponsive") await this.#changed.promise;
  }
}

/** The daemon of a connection. */
export interface Served {
  readonly handle: (request: RawRequest) => RawAnswer;
  readonly faults: FaultSwitch;
  /** Runs tasks one after another, like the single API thread of nydusd. */
  readonly enqueue: <T>(work: () => Promise<T>) => Promise<T>;
}

/**
 * Serves one connection like the API server of nydusd, with its deviations from HTTP: no reason
 * phrase, `Connection: close` is ignored, pipelining, 204 without a length, and errors that are not
 * JSON and quote the request.
 */
export async function serveConnection(connection: Deno.Conn, served: Served): Promise<void> {
  const reader = new RequestReader(connection);
  try {
    while (true) {
      const message = await reader.next();
      if (message === undefined) break;
      await served.enqueue(async () => {
        if (message.kind === "request") return await answer(connection, message.request, served);
        await write(connection, "Firecracker API", { status: 400, body: message.text });
      });
    }
  } catch {
    // The peer closed the connection.
  }
  try {
    connection.close();
  } catch {
    // Closed already.
  }
}

async function answer(
  connection: Deno.Conn,
  request: RawRequest,
  { handle, faults }: Served,
): Promise<void> {
  await faults.responsive();
  switch (faults.fault) {
    case "slow":
      await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
      break;
    case "error-500": {
      const body = '{"code":"UNDEFINED","message":"Internal"}';
      return await write(connection, "Nydus API", { status: 500, body });
    }
    case "truncated":
      await writeAll(connection, "HTTP/1.1 200 \r\nContent-Length: 1000\r\n\r\n{");
      return connection.close();
    case "unresponsive":
    case "none":
      break;
  }
  await write(connection, "Nydus API", handle(request));
}

async function write(
  connection: Deno.Conn,
  server: string,
  { status, body }: RawAnswer,
): Promise<void> {
  const head = `HTTP/1.1 ${status} \r\nServer: ${server}\r\nConnection: keep-alive\r\n`;
  if (body === undefined) return await writeAll(connection, `${head}\r\n`);
  const length = new TextEncoder().encode(body).length;
  const about = `Content-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
  await writeAll(connection, head + about + body);
}

async function writeAll(connection: Deno.Conn, text: string): Promise<void> {
  let rest = new TextEncoder().encode(text);
  while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
}

/** A received request. */
export interface RawRequest {
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Empty without a body: nydusd does not distinguish them. */
  readonly body: string;
}

/** A received message: a request, or one that the server itself rejects. */
export type RawMessage =
  | { readonly kind: "request"; readonly request: RawRequest }
  | { readonly kind: "refused"; readonly text: string };

/** Body limit of the real server (dbs_uhttp). */
const MAX_BODY = 51_200;
const WINDOW = 1_024;

interface Head {
  readonly method: string;
  readonly target: string;
  length: number;
}

/**
 * Splits a byte stream into requests with the errors of the real server. It reads heads in a window
 * of 1 KiB, discards the window when it rejects something, and continues in the same head: a body
 * over the limit is parsed as header lines, so most of it is returned in errors of 1 KiB each, and
 * the rest corrupts the next request of the connection.
 */
export class RequestReader {
  readonly #source: { read(into: Uint8Array): Promise<number | null> };
  #bytes = new Uint8Array(0);
  /** Undefined between requests. */
  #head: Head | undefined;

  constructor(source: { read(into: Uint8Array): Promise<number | null> }) {
    this.#source = source;
  }

  /** Reads the next message. Resolves to undefined at the end of the stream. */
  async next(): Promise<RawMessage | undefined> {
    while (true) {
      const line = await this.#line();
      if (line === undefined) return undefined;
      if (line.tooLong) return this.#refuse(header("Invalid content length", line.text));
      if (this.#head === undefined) {
        const [, method, target] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(line.text) ?? [];
        if (method === undefined || target === undefined) return this.#refuse("Invalid request.");
        this.#head = { method, target, length: 0 };
        continue;
      }
      const wrong = line.text === "" ? tooLong(this.#head) : this.#header(this.#head, line.text);
      if (wrong !== undefined) return this.#refuse(wrong);
      if (line.text === "") return await this.#request(this.#head);
    }
  }

  /** Parses a header line. Returns an error text if it is invalid. */
  #header(head: Head, line: string): string | undefined {
    const [, name, value = ""] = /^([^:]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined) return header("Header is not formatted", line);
    if (name.toLowerCase() === "transfer-encoding") {
      this.#head = undefined;
      return "Invalid request.";
    }
    if (name.toLowerCase() === "content-length") {
      if (!/^\d+$/.test(value)) return header("Invalid content length", line);
      head.length = Number(value);
    }
    return undefined;
  }

  async #request({ method, target, length }: Head): Promise<RawMessage | undefined> {
    this.#head = undefined;
    while (this.#bytes.length < length) {
      if (!await this.#more(length - this.#bytes.length)) return undefined;
    }
    const body = this.#take(length);
    // Clients that use the socket as a proxy send the absolute form.
    const [path = "", query = ""] = target.replace(/^http:\/\/[^/]*/, "").split("?");
    return {
      kind: "request",
      request: { method, path, query: new URLSearchParams(query), body },
    };
  }

  /** Discards the window. */
  #refuse(reason: string): RawMessage {
    this.#bytes = new Uint8Array(0);
    // Like the real server, with a line break in a string, which is invalid JSON.
    const text = `{ "error": "${reason}\nAll previous unanswered requests will be dropped." }`;
    return { kind: "refused", text };
  }

  async #line(): Promise<{ readonly text: string; readonly tooLong: boolean } | undefined> {
    while (true) {
      const end = lineEnd(this.#bytes);
      if (end !== undefined) {
        const text = this.#take(end);
        this.#take(2);
        return { text, tooLong: false };
      }
      if (this.#bytes.length >= WINDOW) return { text: this.#take(WINDOW), tooLong: true };
      if (!await this.#more()) return undefined;
    }
  }

  #take(length: number): string {
    const text = new TextDecoder().decode(this.#bytes.subarray(0, length));
    this.#bytes = this.#bytes.slice(length);
    return text;
  }

  async #more(atMost = WINDOW - this.#bytes.length): Promise<boolean> {
    const chunk = new Uint8Array(atMost);
    const read = await this.#source.read(chunk);
    if (read === null) return false;
    const joined = new Uint8Array(this.#bytes.length + read);
    joined.set(this.#bytes);
    joined.set(chunk.subarray(0, read), this.#bytes.length);
    this.#bytes = joined;
    return true;
  }
}

function lineEnd(bytes: Uint8Array): number | undefined {
  for (let i = 0; i + 1 < bytes.length; i++) {
    if (bytes[i] === 13 && bytes[i + 1] === 10) return i;
  }
  return undefined;
}

function tooLong({ length }: Head): string | undefined {
  if (length <= MAX_BODY) return undefined;
  return `Request payload with size ${length} is larger than the limit of ${MAX_BODY} ` +
    "allowed by server.";
}

function header(reason: string, line: string): string {
  return `Invalid header. Reason: ${reason}. Header: ${line}`;
}
