import type { Secret } from "../model/mod.ts";
import { ClientConnection } from "./http1_client.ts";
import { connectTcp } from "./tcp_connect.ts";

/**
 * Opens a connection through an HTTP proxy to a host, by CONNECT.
 *
 * @param to Host and port.
 */
export async function openTunnel(
  proxyUrl: Secret,
  to: string,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  const url = URL.parse(proxyUrl.reveal());
  if (url?.protocol !== "http:") throw new Error("connect: the proxy's URL cannot be used");
  const port = Number(url.port === "" ? 80 : url.port);
  const stream = await connectTcp(url.hostname, port, signal);
  const connection = new ClientConnection(stream);
  const abort = () => connection.close();
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    const headers = [["Host", to] as const, ...login(url)];
    const { status } = await connection.send({ method: "CONNECT", target: to, headers });
    if (status !== 200) throw new Error(`connect: the proxy answered ${status}`);
    return stream;
  } catch (error) {
    connection.close();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function login({ username, password }: URL): (readonly [string, string])[] {
  if (username === "") return [];
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return [["Proxy-Authorization", `Basic ${new TextEncoder().encode(pair).toBase64()}`]];
}
