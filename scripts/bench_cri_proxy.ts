// deno-lint-ignore-file no-console -- a benchmark prints its results
/**
 * `deno task bench:cri-proxy`: measures the CRI proxy relative to a proxy of the same runtime that
 * only copies bytes, in the same run. Client, server and both proxies are separate processes.
 *
 * @module
 */
import { join } from "@std/path";
import { fileURLToPath } from "node:url";
import { serveByteProxy } from "../lib/platform/mod.ts";
import { CriConnectionReader, PullCredentialCache } from "../lib/cri/mod.ts";
import { median } from "./lib/bench.ts";
import { callOnce, openConversation, passMessages, serveCalls } from "./lib/bench_cri.ts";

const ROUNDS = 9;
const MESSAGE_BYTES = 16 * 1024 * 1024;
const MESSAGES = 8;
const CALLS = 3_000;
/** The CRI proxy's throughput must be at least this share of the plain proxy's. */
const MIN_SHARE = 0.6;
const KINDS = ["direct", "plain", "cri-proxy"] as const;
type Kind = typeof KINDS[number];

async function main(args: readonly string[]): Promise<number> {
  const [role, path = "", upstream = ""] = args;
  if (role === "server") return await serveCalls(path);
  if (role === "plain") return await servePlainProxy(path, upstream);
  if (role === "cri-proxy") return await serveCriProxy(path, upstream);
  const folder = await Deno.makeTempDir({ prefix: "bench-cri-proxy-" });
  const sockets: Record<Kind, string> = {
    direct: join(folder, "direct"),
    plain: join(folder, "plain"),
    "cri-proxy": join(folder, "cri-proxy"),
  };
  const children = [
    start("server", sockets.direct),
    start("plain", sockets.plain, sockets.direct),
    start("cri-proxy", sockets["cri-proxy"], sockets.direct),
  ];
  try {
    for (const kind of KINDS) await connectable(sockets[kind]);
    return report(await measure(sockets));
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(children.map((child) => child.status));
    await Deno.remove(folder, { recursive: true });
  }
}

interface Figures {
  /** MiB per second, in both directions. */
  readonly throughput: Record<Kind, number[]>;
  /** Milliseconds per sequential call. */
  readonly latencyMs: Record<Kind, number[]>;
}

async function measure(sockets: Record<Kind, string>): Promise<Figures> {
  const empty = () => ({ direct: [], plain: [], "cri-proxy": [] });
  const figures: Figures = { throughput: empty(), latencyMs: empty() };
  // Alternates between the kinds, so that other load on the machine affects all of them.
  for (let round = -1; round < ROUNDS; round++) {
    for (const kind of KINDS) {
      const connection = await Deno.connect({ transport: "unix", path: sockets[kind] });
      const conversation = await openConversation(connection);
      let startedMs = performance.now();
      await passMessages(conversation, MESSAGES, MESSAGE_BYTES);
      const passedMs = performance.now() - startedMs;
      startedMs = performance.now();
      for (let i = 0; i < CALLS; i++) await callOnce(conversation, i);
      const calledMs = performance.now() - startedMs;
      connection.close();
      if (round < 0) continue; // warm-up
      const mib = 2 * MESSAGES * MESSAGE_BYTES / 2 ** 20;
      figures.throughput[kind].push(mib / passedMs * 1_000);
      figures.latencyMs[kind].push(calledMs / CALLS);
    }
  }
  return figures;
}

function report({ throughput, latencyMs }: Figures): number {
  const shares = throughput["cri-proxy"].map((value, i) => value / (throughput.plain[i] ?? NaN));
  const share = median(shares);
  const micros = (kind: Kind) => median(latencyMs[kind]) * 1_000;
  const added = median(
    latencyMs["cri-proxy"].map((value, i) => value - (latencyMs.plain[i] ?? NaN)),
  );
  const row = (name: string, of: (kind: Kind) => string) =>
    console.log(`| ${name} | ${KINDS.map(of).join(" | ")} |`);
  row("", (kind) => kind);
  row("---", () => "---");
  row("throughput, 16 MiB messages (MiB/s)", (kind) => median(throughput[kind]).toFixed(0));
  row("pull request and response (µs)", (kind) => micros(kind).toFixed(0));
  console.log(`throughput of the CRI proxy: ${share.toFixed(2)} of the plain proxy's`);
  console.log(`a call takes ${(added * 1_000).toFixed(0)} µs more than through the plain one`);
  if (share >= MIN_SHARE) return 0;
  console.error(`less than ${MIN_SHARE}`);
  return 1;
}

function start(...args: readonly string[]): Deno.ChildProcess {
  const self = fileURLToPath(import.meta.url);
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", self, ...args],
    stdin: "null",
    stdout: "null",
  }).spawn();
}

async function connectable(path: string): Promise<void> {
  for (const untilMs = Date.now() + 20_000; Date.now() < untilMs;) {
    try {
      (await Deno.connect({ transport: "unix", path })).close();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  throw new Error(`failed to connect to ${path}: no listener within 20 s`);
}

async function serveCriProxy(path: string, upstream: string): Promise<number> {
  const cache = new PullCredentialCache({ now: Date.now });
  await serveByteProxy({ path, upstream, reader: () => new CriConnectionReader({ cache }) });
  return await new Promise(() => {});
}

/** Serves the simplest proxy of this runtime, the baseline for the CRI proxy. */
async function servePlainProxy(path: string, upstream: string): Promise<number> {
  for await (const client of Deno.listen({ transport: "unix", path })) {
    const server = await Deno.connect({ transport: "unix", path: upstream });
    for (const [from, to] of [[client, server], [server, client]] as const) {
      void copyBytes(from, to).catch(() => {}).finally(() => to.closeWrite().catch(() => {}));
    }
  }
  return 0;
}

async function copyBytes(from: Deno.UnixConn, to: Deno.UnixConn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  for (let n = await from.read(buffer); n !== null; n = await from.read(buffer)) {
    for (let done = 0; done < n;) done += await to.write(buffer.subarray(done, n));
  }
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
