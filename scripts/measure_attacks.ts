// deno-lint-ignore-file no-console -- prints a table
/**
 * `deno task measure:attacks`: measures memory, latency of `/livez` and failed CRI calls while other
 * local users exhaust the agent's listeners. The agent may open at most 1,024 files. Exits with 1 when
 * a limit is exceeded. Set `NYDUS_AUTH_AGENT_BINARY` to use the compiled binary.
 *
 * @module
 */
import { join } from "@std/path";
import { type Attack, attack, holdCriClients, LIMITED } from "../tests/e2e/attacks.ts";
import { AgentProcess, pause, simNode } from "../tests/e2e/stage.ts";
import { callOnce, echoOn } from "../tests/e2e/cri_proxy_stage.ts";

const MOUNTS = 20;
const DURATION_MS = 10_000;
const MAX_GROWTH = 1.5;
const MAX_LIVEZ_MS = 250;

interface Row {
  readonly name: string;
  readonly rssMb: number;
  readonly livezMs: number;
  readonly livezFailed: number;
  readonly criFailed: number;
}

async function rssMb(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0) / 1024;
}

/** Returns the maximum values during the measurement. */
async function measure(name: string, agent: AgentProcess, criPath: string): Promise<Row> {
  let [rss, livezMs, livezFailed, criFailed] = [0, 0, 0, 0];
  for (const untilMs = performance.now() + DURATION_MS; performance.now() < untilMs;) {
    const startMs = performance.now();
    if ((await agent.get("/livez")).status !== 200) livezFailed++;
    livezMs = Math.max(livezMs, performance.now() - startMs);
    await callOnce(criPath).catch(() => criFailed++);
    rss = Math.max(rss, await rssMb(agent.pid));
    await pause(50);
  }
  return { name, rssMb: rss, livezMs, livezFailed, criFailed };
}

await using node = simNode();
const host = node.tokenRegistry.host;
const images = Array.from({ length: MOUNTS }, (_, i) => `${host}/shop/app-${i}:1`);
await node.addDaemon({ id: "s1", mode: "shared", images });
const [cri, link, upstream] = ["cri.sock", "image.sock", "containerd.sock"].map((name) =>
  join(node.dir, name)
);
using _runtime = echoOn(upstream!);
const more = `[providers.cri]\nenabled = true\nsocket = "${cri}"\nlink = "${link}"\n` +
  `image_service = "${upstream}"\n`;
await using agent = await AgentProcess.start(node, { more, by: LIMITED });
await agent.until("the proxy", async () => await Deno.readLink(link!) === cri);
await pause(5_000);
const rows = [await measure("idle", agent, link!)];
for (const kind of ["idle", "slow-header", "slow-reader"] as const satisfies readonly Attack[]) {
  using _attacker = await attack(new URL(agent.base), kind, 1_100);
  rows.push(await measure(`1,100 connections, ${kind}`, agent, link!));
}
{
  using clients = await holdCriClients(link!, 1_100);
  const { livezMs, livezFailed, rssMb } = await measure("1,100 CRI clients", agent, upstream!);
  const name = `1,100 CRI clients (${clients.served()} served)`;
  rows.push({ name, rssMb, livezMs, livezFailed, criFailed: 0 });
}
const idleMb = rows[0]?.rssMb ?? 0;
let isWithinLimits = true;
console.log("| load | RSS | of idle | slowest /livez | failed /livez | failed CRI calls |");
console.log("| --- | --- | --- | --- | --- | --- |");
for (const { name, rssMb, livezMs, livezFailed, criFailed } of rows) {
  const growth = rssMb / idleMb;
  isWithinLimits &&= growth <= MAX_GROWTH && livezMs < MAX_LIVEZ_MS &&
    livezFailed + criFailed === 0;
  const cells = [
    name,
    `${rssMb.toFixed(0)} MB`,
    growth.toFixed(2),
    `${livezMs.toFixed(0)} ms`,
    livezFailed,
    criFailed,
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
Deno.exitCode = isWithinLimits ? 0 : 1;
