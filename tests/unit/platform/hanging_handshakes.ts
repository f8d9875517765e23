// deno-lint-ignore-file no-console -- a program that prints its result
/** Makes requests whose TLS handshake hangs, and prints how many sockets they leave open. */
import { createKubeHttp, createRegistryHttp } from "../../../lib/platform/mod.ts";

/** Returns the number of open sockets: the runtime opens other descriptors at any time. */
function sockets(): number {
  const paths = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => `/proc/self/fd/${name}`);
  return paths.filter((path) => {
    try {
      return Deno.readLinkSync(path).startsWith("socket:");
    } catch {
      return false; // it was closed meanwhile
    }
  }).length;
}

/** Starts a server that accepts connections and never sends anything. */
function hangingServer() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const connection of listener) open.push(connection);
  })();
  return {
    origin: `https://127.0.0.1:${listener.addr.port}`,
    open,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      for (const connection of open) connection.close();
    },
  };
}

/** Makes 100 attempts whose handshake hangs. Returns how many sockets they leave open. */
async function leftOpen(attempt: (origin: string) => Promise<{ kind: string }>): Promise<string> {
  await using server = hangingServer();
  // The first attempts load modules.
  for (let i = 0; i < 3; i++) await attempt(server.origin);
  const before = sockets() - server.open.length;
  const results = await Promise.all(Array.from({ length: 100 }, () => attempt(server.origin)));
  const late = results.filter(({ kind }) => kind === "timed-out");
  let left = Infinity;
  for (let tries = 0; tries < 3_000 && left > 0; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10)); // sockets close asynchronously
    left = sockets() - server.open.length - before;
  }
  return `${late.length} timed out, ${Math.max(0, left)} sockets left`;
}

const [client, verification] = Deno.args;
const skipVerify = verification === "without verification";
const limits = { method: "GET", headers: [], timeoutMs: 200, maxBytes: 100 } as const;
const registry = createRegistryHttp();
const kube = createKubeHttp();
console.log(
  await leftOpen((origin) =>
    client === "RegistryHttp"
      ? registry.request({ ...limits, url: `${origin}/v2/`, skipVerify, caFiles: [] })
      : kube.request({
        ...limits,
        connection: { server: origin, skipVerify, ...(!skipVerify && { serverName: "localhost" }) },
        path: "/api",
      })
  ),
);
Deno.exit(); // some versions of the runtime keep a hung handshake alive
