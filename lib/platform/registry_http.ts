import {
  type CallOptions,
  Deadline,
  type RegistryHttp,
  type RegistryHttpRequest,
  type RegistryHttpResult,
  Secret,
} from "../model/mod.ts";
import { type OpenedResponse, openResponse, readText } from "./http1.ts";
import {
  ConnectError,
  connectionProblem,
  connectTcp,
  createProxiedClient,
  environmentProxy,
  ForbiddenAddressError,
  isMetadataAddress,
  literalAddress,
  openTunnel,
  proxyOf,
} from "./connect.ts";
import { connectTls } from "./tls_connect.ts";

const MAX_CA_BYTES = 4 * 1024 * 1024;

/**
 * Creates an HTTP client for registries and token services. Connections are not reused: requests are
 * few and go to many hosts. Deno's own client is used only with a proxy, because it cannot connect
 * to an address that was checked before.
 */
export function createRegistryHttp(): RegistryHttp {
  return { request, [Symbol.dispose]: () => {} };
}

async function request(
  registryRequest: RegistryHttpRequest,
  { signal }: CallOptions = {},
): Promise<RegistryHttpResult> {
  signal?.throwIfAborted();
  using deadline = new Deadline(registryRequest.timeoutMs, signal);
  try {
    return await send(registryRequest, deadline.signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (deadline.passed) return { kind: "timed-out" };
    return { kind: "unreachable", detail: connectionProblem(error) };
  } finally {
    deadline.abort(); // closes the connection if the body was not read to its end
  }
}

async function send(
  request: RegistryHttpRequest,
  signal: AbortSignal,
): Promise<RegistryHttpResult> {
  const url = new URL(request.url);
  const caCerts = await Promise.all(request.caFiles.map(readCertificateAuthority));
  const skipVerify = request.skipVerify && url.protocol === "https:";
  const proxyUrl = request.proxyUrl ?? (skipVerify ? undefined : environmentProxy(url));
  if (proxyUrl === undefined || skipVerify) {
    const opened = await openDirectly({ ...request, skipVerify }, url, caCerts, signal);
    return await readResult(opened, request.maxBytes);
  }
  refuseMetadataLiteral(url.hostname);
  using client = createProxiedClient({
    caCerts,
    poolMaxIdlePerHost: 0,
    proxy: proxyOf(proxyUrl),
  });
  const response = await fetch(url, {
    client,
    method: request.method,
    headers: request.headers.map(([name, value]) => [name, value.reveal()]),
    redirect: "manual",
    signal,
    ...(request.body && { body: request.body.reveal() }),
  });
  const { status, headers } = response;
  const result = await readResult({ status, headers, body: bytesOf(response) }, request.maxBytes);
  await response.body?.cancel().catch(() => {});
  return result;
}

/** Opens a response without a proxy, or through a tunnel. */
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

/** Checks IP addresses only: a proxy resolves names itself. */
function refuseMetadataLiteral(hostname: string): void {
  const literal = literalAddress(hostname);
  if (literal !== undefined && isMetadataAddress(literal)) throw new ForbiddenAddressError();
}

async function readCertificateAuthority(path: string): Promise<string> {
  const text = await Deno.readTextFile(path).catch(() => undefined);
  if (text === undefined || text.length > MAX_CA_BYTES) {
    throw new ConnectError(`the certificate authority ${path} cannot be read`);
  }
  return text;
}

async function* bytesOf({ body }: Response): AsyncGenerator<Uint8Array> {
  if (body !== null) yield* body.values({ preventCancel: true });
}

/** Reads a response, with at most `maxBytes` of its body. */
async function readResult(
  { status, headers, body }: OpenedResponse,
  maxBytes: number,
): Promise<RegistryHttpResult> {
  return {
    kind: "answered",
    status,
    body: new Secret((await readText(body, maxBytes)).text),
    headers: new Map([...headers].map(([name, value]) => [name.toLowerCase(), value])),
  };
}
