import { connect, type Socket } from "node:net";
import type { Secret } from "../model/mod.ts";

const MAX_HEAD_BYTES = 16 * 1024;

/**
 * A connection through an HTTP proxy to a host, made by CONNECT, for TLS of our own.
 *
 * @param to Host and port.
 */
export async function openTunnel(
  proxyUrl: Secret,
  to: string,
  signal: AbortSignal,
): Promise<Socket> {
  const url = URL.parse(proxyUrl.reveal());
  if (url?.protocol !== "http:") throw new Error("connect: the proxy's URL cannot be used");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const socket = connect({ host, port: Number(url.port === "" ? 80 : url.port) });
  socket.on("error", () => {}); // told by whoever waits then
  const abort = () => void socket.destroy();
  signal.addEventListener("abort", abort, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("connect: the connection was cut")));
      socket.once("connect", resolve);
    });
    socket.write(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n${loginOf(url)}\r\n`);
    const status = statusOf(await headOf(socket));
    if (status !== 200) throw new Error(`connect: the proxy answered ${status}`);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function loginOf({ username, password }: URL): string {
  if (username === "") return "";
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return `Proxy-Authorization: Basic ${new TextEncoder().encode(pair).toBase64()}\r\n`;
}

function statusOf(head: string): number {
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1]);
  if (!(status >= 200)) throw new Error("connect: the proxy does not speak HTTP");
  return status;
}

/** The head of the answer. Nothing follows it: whom we speak to waits for us. */
function headOf(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let head = "";
    const decoder = new TextDecoder("latin1");
    const take = (chunk: Uint8Array) => {
      head += decoder.decode(chunk);
      if (!head.includes("\r\n\r\n") && head.length <= MAX_HEAD_BYTES) return;
      socket.off("data", take);
      socket.pause();
      resolve(head);
    };
    socket.on("data", take);
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("connect: the connection was cut")));
  });
}
