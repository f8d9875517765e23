import {
  type CallOptions,
  type RegistryHttp,
  type RegistryHttpRequest,
  type RegistryHttpResult,
  Secret,
} from "../model/mod.ts";
import { connectionTrouble } from "./kube_trouble.ts";
import { createProxiedClient } from "./proxied_client.ts";

/** What an answer's head and body are made of, whoever made the connection. */
interface Opened {
  readonly status: number;
  readonly headers: Headers;
  readonly body: AsyncIterable<Uint8Array>;
}

const MAX_CA_BYTES = 4 * 1024 * 1024;

/**
 * HTTP to registries: by the runtime's client, each request on a connection of its own (they are
 * few, and go to many hosts), or by a TLS connection of our own where any certificate may do.
 */
export function createRegistryHttp(): RegistryHttp {
  return { request, [Symbol.dispose]: () => {} };
}

async function request(
  wanted: RegistryHttpRequest,
  { signal }: CallOptions = {},
): Promise<RegistryHttpResult> {
  signal?.throwIfAborted();
  const deadline = new AbortController();
  const end = () => deadline.abort();
  signal?.addEventListener("abort", end);
  const timer = setTimeout(end, wanted.timeoutMs);
  try {
    return await answerOf(wanted, deadline.signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (deadline.signal.aborted) return { kind: "timed-out" };
    return { kind: "unreachable", detail: troubleOf(error) };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    deadline.abort(); // lets go of what was not read
  }
}

/** Something of ours that stands in the way, in words of ours. */
class Obstacle extends Error {}

function troubleOf(error: unknown): string {
  return error instanceof Obstacle ? error.message : connectionTrouble(error);
}

async function answerOf(
  wanted: RegistryHttpRequest,
  signal: AbortSignal,
): Promise<RegistryHttpResult> {
  const caCerts = await Promise.all(wanted.caFiles.map(readAuthority));
  if (wanted.skipVerify && wanted.url.startsWith("https:")) {
    return await whole(await openUnverified(wanted, signal), wanted.maxBytes);
  }
  const proxy = proxyOf(wanted);
  const options = { caCerts, poolMaxIdlePerHost: 0 };
  const client = proxy === undefined
    ? Deno.createHttpClient(options)
    : createProxiedClient({ ...options, proxy });
  try {
    const response = await fetch(wanted.url, {
      client,
      method: wanted.method,
      headers: wanted.headers.map(([name, value]) => [name, value.reveal()]),
      redirect: "manual",
      signal,
      ...(wanted.body && { body: wanted.body.reveal() }),
    });
    const { status, headers } = response;
    const result = await whole({ status, headers, body: bytesOf(response) }, wanted.maxBytes);
    await response.body?.cancel().catch(() => {});
    return result;
  } finally {
    client.close();
  }
}

/** The runtime's client judges certificates and cannot be told not to. */
async function openUnverified(
  { url, method, headers, body, proxyUrl }: RegistryHttpRequest,
  signal: AbortSignal,
): Promise<Opened> {
  const { openByOwnTls } = await import("./kube_own_tls.ts");
  const { origin, pathname, search, hostname, port } = new URL(url);
  const through = proxyUrl && await tunnelOf(proxyUrl, `${hostname}:${port || 443}`, signal);
  return await openByOwnTls({
    ...(through && { through }),
    connection: { server: origin, skipVerify: true },
    method,
    path: `${pathname}${search}`,
    headers,
    ...(body && { body: body.reveal() }),
  }, signal);
}

async function tunnelOf(proxyUrl: Secret, to: string, signal: AbortSignal) {
  const { openTunnel } = await import("./proxy_tunnel.ts");
  return await openTunnel(proxyUrl, to, signal);
}

async function readAuthority(path: string): Promise<string> {
  const text = await Deno.readTextFile(path).catch(() => undefined);
  if (text === undefined || text.length > MAX_CA_BYTES) {
    throw new Obstacle(`the authority in ${path} cannot be read`);
  }
  return text;
}

function proxyOf({ proxyUrl }: RegistryHttpRequest): Deno.Proxy | undefined {
  if (proxyUrl === undefined) return undefined;
  if (!URL.canParse(proxyUrl.reveal())) throw new Obstacle("the proxy's URL cannot be used");
  const url = new URL(proxyUrl.reveal());
  const { username, password } = url;
  url.username = url.password = "";
  if (username === "") return { url: url.href };
  const decoded = {
    username: decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
  return { url: url.href, basicAuth: decoded };
}

async function* bytesOf({ body }: Response): AsyncGenerator<Uint8Array> {
  if (body !== null) yield* body.values({ preventCancel: true });
}

/** The head, and as much of the body as is wanted. */
async function whole(
  { status, headers, body }: Opened,
  maxBytes: number,
): Promise<RegistryHttpResult> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of body) {
    const part = chunk.subarray(0, maxBytes - size);
    text += decoder.decode(part, { stream: true });
    size += part.length;
    if (size >= maxBytes) break;
  }
  return {
    kind: "answered",
    status,
    headers: new Map([...headers].map(([name, value]) => [name.toLowerCase(), value])),
    body: new Secret(text),
  };
}
