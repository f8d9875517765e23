import { type RawRequest, RequestReader } from "./request_reader.ts";

/** What to answer. */
export interface RawAnswer {
  readonly status: number;
  readonly body?: string;
}

/**
 * How a daemon misbehaves: not at all, or in one of the ways that real ones do. `silent` holds
 * every request back until the fault is lifted; `half` cuts each answer off in the middle.
 */
export type Fault = "none" | "error-500" | "silent" | "slow" | "half";

const SLOW_MS = 600;

/** The fault in force, and a way to wait for its end. */
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

  /** Resolves when the daemon is no longer `silent`. */
  async spoken(): Promise<void> {
    while (this.#fault === "silent") await this.#changed.promise;
  }
}

/** What a connection needs of the daemon that it belongs to. */
export interface Served {
  readonly handle: (request: RawRequest) => RawAnswer;
  readonly faults: FaultSwitch;
  /** Runs one piece of work after another, as the one thread of the real daemon does. */
  readonly turn: <T>(work: () => Promise<T>) => Promise<T>;
}

/**
 * One connection of nydusd's API server, with the oddities of the real one: no reason phrase,
 * `Connection: close` ignored, pipelining, 204 without a length, and refusals that are no JSON and
 * repeat what was sent.
 */
export async function serveConnection(connection: Deno.Conn, served: Served): Promise<void> {
  const reader = new RequestReader(connection);
  try {
    while (true) {
      const message = await reader.next();
      if (message === undefined) break;
      await served.turn(async () => {
        if (message.kind === "request") return await answer(connection, message.request, served);
        await write(connection, "Firecracker API", { status: 400, body: message.text });
      });
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
  request: RawRequest,
  { handle, faults }: Served,
): Promise<void> {
  await faults.spoken();
  switch (faults.fault) {
    case "slow":
      await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
      break;
    case "error-500": {
      const body = '{"code":"UNDEFINED","message":"Internal"}';
      return await write(connection, "Nydus API", { status: 500, body });
    }
    case "half":
      await writeAll(connection, "HTTP/1.1 200 \r\nContent-Length: 1000\r\n\r\n{");
      return connection.close();
    case "silent":
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
