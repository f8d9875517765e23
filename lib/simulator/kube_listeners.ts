import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";

/** A listening server. */
export interface Listening {
  readonly port: number;
  /** Stops the server and closes all connections. */
  close(): Promise<void>;
}

/** Certificates of a simulated API server, as PEM. */
export interface SimKubeCertificates {
  readonly cert: string;
  readonly key: string;
  /** Enables client certificates, whose common name is the user. */
  readonly clientCa?: string;
}

const CLOSING_MS = 300;

type Answer = (request: Request, commonName: string, peerPort: number) => Promise<Response>;

/** Serves HTTP/2 and HTTP/1.1 without client certificates. */
export function serveHttp2(
  port: number,
  { cert, key }: SimKubeCertificates,
  answer: Answer,
): Listening {
  const stop = new AbortController();
  const onListen = () => {};
  const options = { hostname: "127.0.0.1", port, cert, key, signal: stop.signal, onListen };
  const server = Deno.serve(
    options,
    (request, { remoteAddr }) => answer(request, "", remoteAddr.port),
  );
  return {
    port: server.addr.port,
    async close() {
      stop.abort();
      // The server may not notice that a client disappeared during a call.
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, CLOSING_MS);
      await Promise.race([server.finished, promise]);
      clearTimeout(timer);
    },
  };
}

/** Serves HTTP/1.1 with Node's server, which supports client certificates. */
export async function serveHttps(
  port: number,
  { cert, key, clientCa = "" }: SimKubeCertificates,
  answer: Answer,
): Promise<Listening> {
  const tls = { cert, key, ca: clientCa, requestCert: true, rejectUnauthorized: false };
  const server: Server = createServer(tls, (incoming, outgoing) => {
    // The client may disconnect at any time.
    outgoing.on("error", () => {});
    serveOne(incoming, outgoing, answer).catch(() => void outgoing.destroy());
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.closeAllConnections();
      return new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

async function serveOne(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  answer: Answer,
): Promise<void> {
  const socket = incoming.socket as TLSSocket;
  const commonName = socket.authorized ? socket.getPeerCertificate().subject.CN : "";
  let text = "";
  for await (const part of incoming) text += new TextDecoder().decode(part);
  const { method = "GET", url = "/", headers } = incoming;
  const pairs = Object.entries(headers).map(([name, value]) => [name, String(value)] as const);
  const request = new Request(`https://127.0.0.1${url}`, {
    method,
    headers: pairs.map(([name, value]) => [name, value]),
    ...(text !== "" && { body: text }),
  });
  const response = await answer(request, String(commonName ?? ""), socket.remotePort ?? 0);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  for await (const chunk of response.body ?? []) outgoing.write(chunk);
  outgoing.end();
}
