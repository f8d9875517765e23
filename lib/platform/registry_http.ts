import {
  type CallOptions,
  Deadline,
  isMetadataAddress,
  type RegistryHttp,
  type RegistryHttpRequest,
  type RegistryHttpResult,
  Secret,
} from "../model/mod.ts";
import { type OpenedResponse, openResponse } from "./http1_client.ts";
import { connectionProblem } from "./kube_trouble.ts";
import { createProxiedClient, environmentProxy } from "./proxied_client.ts";
import { openTunnel } from "./proxy_tunnel.ts";
import { connectTcp, ForbiddenAddressError, literalAddress } from "./tcp_connect.ts";
import { connectTls } from "./tls_connect.ts";

const MAX_CA_BYTES = 4 * 1024 * 1024;

/**
 * HTTP to registries and token services, each request on a connection of its own: they are few, and
 * go to many hosts. The runtime's client is used through a proxy only: it cannot be told to connect
 * to an address that was checked.
 */
export function createRegistryHttp(): RegistryHttp {
  return { request, [Symbol.dispose]: () => {} };
}

async function request(
  wanted: RegistryHttpRequest,
  { signal }: CallOptions = {},
): Promise<RegistryHttpResult> {
  signal?.throwIfAborted();
  using deadline = new Deadline(wanted.timeoutMs, signal);
  try {
    return await answerOf(wanted, deadline.signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (deadline.passed) return { kind: "timed-out" };
    return { kind: "unreachable", detail: problemOf(error) };
  } finally {
    deadline.abort(); // releases what was not read
  }
}

/** Something of ours that stands in the way, in words of ours. */
class Obstacle extends Error {}

function problemOf(error: unknown): string {
  return error instanceof Obstacle ? error.message : connectionProblem(error);
}

async function answerOf(
  wanted: RegistryHttpRequest,
  signal: AbortSignal,
): Promise<RegistryHttpResult> {
  const url = new URL(wanted.url);
  const caCerts = await Promise.all(wanted.caFiles.map(readAuthority));
  const skipVerify = wanted.skipVerify && url.protocol === "https:";
  const proxyUrl = wanted.proxyUrl ?? (skipVerify ? undefined : environmentProxy(url));
  if (proxyUrl === undefined || skipVerify) {
    const opened = await openDirectly({ ...wanted, skipVerify }, url, caCerts, signal);
    return await whole(opened, wanted.maxBytes);
  }
  refuseMetadataLiteral(url.hostname);
  using client = createProxiedClient({
    caCerts,
    poolMaxIdlePerHost: 0,
    proxy: proxyOf(proxyUrl),
  });
  const response = await fetch(url, {
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
}

/** Without a proxy, or through the tunnel of one. */
async function openDirectly(
  { method, headers, body, skipVerify, proxyUrl }: RegistryHttpRequest,
  url: URL,
  caCerts: readonly string[],
  signal: AbortSignal,
): Promise<OpenedResponse> {
  const { hostname } = url;
  const isTls = url.protocol === "https:";
  const port = Number(url.port === "" ? (isTls ? 443 : 80) : url.port);
  if (proxyUrl !== undefined) refuseMetadataLiteral(hostname);
  const connection = proxyUrl === undefined
    ? await connectTcp(hostname, port, signal, { refuseMetadata: true })
    : await openTunnel(proxyUrl, `${hostname}:${port}`, signal);
  const options = { host: hostname, caCerts, skipVerify };
  const stream = isTls ? await connectTls(connection, options, signal) : connection;
  return await openResponse(stream, {
    method,
    target: `${url.pathname}${url.search}`,
    headers: [
      ["Host", url.host],
      ...headers.map(([name, value]) => [name, value.reveal()] as const),
    ],
    body,
  }, signal);
}

/** A proxy resolves names itself: of what it is given, only addresses can be checked here. */
function refuseMetadataLiteral(hostname: string): void {
  const literal = literalAddress(hostname);
  if (literal !== undefined && isMetadataAddress(literal)) throw new ForbiddenAddressError();
}

async function readAuthority(path: string): Promise<string> {
  const text = await Deno.readTextFile(path).catch(() => undefined);
  if (text === undefined || text.length > MAX_CA_BYTES) {
    throw new Obstacle(`the authority in ${path} cannot be read`);
  }
  return text;
}

function proxyOf(proxyUrl: Secret): Deno.Proxy {
  const url = URL.parse(proxyUrl.reveal());
  if (url === null) throw new Obstacle("the proxy's URL cannot be used");
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
  { status, headers, body }: OpenedResponse,
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
