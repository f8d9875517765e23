import type { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { KubeConnection, Secret } from "../model/mod.ts";
import { type OpenedAnswer, readHttpAnswer } from "./http_answer.ts";

/** One request, and how to reach whom it is for. */
export interface OwnTlsRequest {
  readonly connection: Omit<KubeConnection, "proxyUrl">;
  /** A connection that leads there already, through a proxy. */
  readonly through?: Socket;
  readonly method: "GET" | "HEAD" | "POST";
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: Secret])[];
  readonly body?: string;
}

/**
 * One HTTP/1.1 request over a TLS connection of our own. The runtime's client judges certificates
 * in one way only; here any may do, or one for another name than the host's.
 */
export async function openByOwnTls(
  request: OwnTlsRequest,
  signal: AbortSignal,
): Promise<OpenedAnswer> {
  signal.throwIfAborted();
  const url = new URL(request.connection.server);
  const socket = await handshake(request, url, signal);
  const abort = () => void socket.destroy();
  signal.addEventListener("abort", abort, { once: true });
  socket.once("close", () => signal.removeEventListener("abort", abort));
  try {
    socket.write(requestText(request, url));
    const hasBody = request.method !== "HEAD";
    const answer = await readHttpAnswer(chunksOf(socket, signal), { hasBody });
    return { ...answer, body: closing(answer.body, socket) };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function handshake(
  { connection, through }: OwnTlsRequest,
  url: URL,
  signal: AbortSignal,
): Promise<TLSSocket> {
  if (url.protocol !== "https:") throw new Error("connect: this address has no TLS");
  const { caPem, certPem, keyPem, skipVerify, serverName } = connection;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const socket = connect({
    host,
    port: Number(url.port === "" ? 443 : url.port),
    servername: serverName ?? (/[a-z]/i.test(host) && !host.includes(":") ? host : ""),
    rejectUnauthorized: !skipVerify,
    ...(through && { socket: through }),
    ...(caPem !== undefined && { ca: caPem }),
    ...(certPem !== undefined && keyPem && { cert: certPem, key: keyPem.reveal() }),
  });
  socket.on("error", () => {}); // told by whoever reads then
  return new Promise((resolve, reject) => {
    // Some versions of the runtime never close a socket that is destroyed in the middle of its
    // handshake, and would not end for its sake: it is let go when that is over.
    const abort = () => reject(new Error("connect: given up"));
    signal.addEventListener("abort", abort, { once: true });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("connect: the connection was cut")));
    socket.once("secureConnect", () => {
      signal.removeEventListener("abort", abort);
      if (signal.aborted) socket.destroy();
      else resolve(socket);
    });
  });
}

function requestText({ method, path, headers, body }: OwnTlsRequest, url: URL): string {
  const all: [string, string][] = [["Host", url.host], ["Connection", "close"]];
  for (const [name, value] of headers) all.push([name, value.reveal()]);
  if (body !== undefined) {
    all.push(["Content-Length", String(new TextEncoder().encode(body).length)]);
  }
  new Headers(all); // throws where a value cannot stand in a header
  const prefix = url.pathname === "/" ? "" : url.pathname;
  const lines = all.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return `${method} ${prefix}${path} HTTP/1.1\r\n${lines}\r\n${body ?? ""}`;
}

async function* chunksOf(socket: TLSSocket, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of socket) yield chunk as Buffer;
  signal.throwIfAborted(); // a socket that was destroyed only seems to have ended
}

async function* closing(
  body: AsyncGenerator<Uint8Array>,
  socket: TLSSocket,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } finally {
    socket.destroy();
  }
}
