/** A request as it came over the wire. */
export interface RawRequest {
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string;
}

/** What to answer. */
export interface RawAnswer {
  readonly status: number;
  readonly body?: string;
}

/** How a daemon misbehaves: not at all, or in one of the ways that real ones do. */
export type Fault = "none" | "error-500" | "silent" | "slow" | "half";

const MAX_BODY = 51_200;
const ECHO = 1_024;
const SLOW_MS = 600;

/**
 * One connection of nydusd's API server, with the oddities of the real one: no reason phrase,
 * `Connection: close` ignored, pipelining, chunked bodies refused with text that is no JSON, and a
 * body over the limit answered twice, the second time with a part of it.
 */
export async function serveConnection(
  connection: Deno.Conn,
  handle: (request: RawRequest) => RawAnswer,
  fault: () => Fault,
  turn: <T>(work: () => Promise<T>) => Promise<T>,
): Promise<void> {
  const reader = new RequestReader(connection);
  try {
    while (true) {
      const request = await reader.next();
      if (request === undefined) break;
      await turn(() => answer(connection, request, handle, fault()));
    }
  } catch {
    // The peer went away in the middle.
  }
  try {
    connection.close();
  } catch {
    // Closed already.
  }
}

async function answer(
  connection: Deno.Conn,
  request: RawRequest | "chunked" | { readonly tooLong: string },
  handle: (request: RawRequest) => RawAnswer,
  fault: Fault,
): Promise<void> {
  if (request === "chunked") return await write(connection, 400, '{"error":"chunked');
  if ("tooLong" in request) {
    await write(connection, 400, '{"error":"body too large"}');
    return await write(connection, 400, request.tooLong.slice(0, ECHO));
  }
  switch (fault) {
    case "silent":
      return await new Promise(() => {});
    case "slow":
      await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
      break;
    case "error-500":
      return await write(connection, 500, '{"error":"Internal"}');
    case "half": {
      await writeAll(connection, "HTTP/1.1 200 \r\nContent-Length: 1000\r\n\r\n{");
      return connection.close();
    }
    case "none":
      break;
  }
  const { status, body } = handle(request);
  await write(connection, status, body ?? "");
}

async function write(connection: Deno.Conn, status: number, body: string): Promise<void> {
  const length = new TextEncoder().encode(body).length;
  const type = body === "" ? "" : "Content-Type: application/json\r\n";
  const head = `HTTP/1.1 ${status} \r\nServer: Nydus API\r\nConnection: keep-alive\r\n${type}`;
  await writeAll(connection, `${head}Content-Length: ${length}\r\n\r\n${body}`);
}

async function writeAll(connection: Deno.Conn, text: string): Promise<void> {
  let rest = new TextEncoder().encode(text);
  while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
}

/** Cuts a byte stream into requests. */
class RequestReader {
  readonly #connection: Deno.Conn;
  #bytes = new Uint8Array(0);

  constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  async next(): Promise<RawRequest | "chunked" | { readonly tooLong: string } | undefined> {
    const end = await this.#headEnd();
    if (end === undefined) return undefined;
    const head = new TextDecoder().decode(this.#bytes.subarray(0, end));
    this.#bytes = this.#bytes.slice(end + 4);
    const [first = "", ...lines] = head.split("\r\n");
    const [method = "", target = ""] = first.split(" ");
    const header = (name: string) =>
      lines.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1)
        .trim();
    if (header("transfer-encoding") !== undefined) {
      this.#bytes = new Uint8Array(0);
      return "chunked";
    }
    const length = Number(header("content-length") ?? 0);
    while (this.#bytes.length < length && await this.#more());
    const body = new TextDecoder().decode(this.#bytes.subarray(0, length));
    this.#bytes = this.#bytes.slice(length);
    if (length > MAX_BODY) return { tooLong: body };
    const [path = "", query = ""] = target.split("?");
    return { method, path, query: new URLSearchParams(query), body };
  }

  async #headEnd(): Promise<number | undefined> {
    while (true) {
      for (let i = 0; i + 3 < this.#bytes.length; i++) {
        if (this.#bytes[i] === 13 && this.#bytes[i + 2] === 13 && this.#bytes[i + 3] === 10) {
          return i;
        }
      }
      if (!await this.#more()) return undefined;
    }
  }

  async #more(): Promise<boolean> {
    const chunk = new Uint8Array(16 * 1024);
    const read = await this.#connection.read(chunk);
    if (read === null) return false;
    const joined = new Uint8Array(this.#bytes.length + read);
    joined.set(this.#bytes);
    joined.set(chunk.subarray(0, read), this.#bytes.length);
    this.#bytes = joined;
    return true;
  }
}
