import { AgentProcess, pause, simNode } from "../../tests/e2e/stage.ts";
import type { SimDaemon, SimNode } from "../../lib/simulator/mod.ts";
import type { Series } from "./flatness.ts";
import { openFiles } from "./simulated_day.ts";

const ROUND_MS = 1_000;
/** Number of rounds without measurements. */
const WARM_UP = 15;

/**
 * Runs the agent as a process with the simulated node for some minutes of real time: tokens expire
 * after seconds, passwords rotate, mounts are added and removed, and a nydusd is killed and restarted.
 */
export async function realMinutes(minutes: number): Promise<readonly Series[]> {
  await using node = simNode({ plugin: { lifetimeMs: 6_000, cacheDuration: "3s" } });
  const shared = await node.addDaemon({
    id: "shared",
    mode: "shared",
    images: [`${node.tokenRegistry.host}/team/first:v1`],
  });
  const image = `${node.passwordRegistry.host}/team/app:v1`;
  const killed = await node.addDaemon({ id: "killed", mode: "dedicated", images: [image] });
  await using agent = await AgentProcess.start(node);
  const samples = { mib: [] as number[], files: [] as number[], children: [] as number[] };
  const rounds = Math.round(minutes * 60_000 / ROUND_MS);
  for (let round = 1; round <= rounds + WARM_UP; round++) {
    await disturb(node, { shared, killed }, round);
    await pause(ROUND_MS);
    await agent.get("/metrics");
    await agent.get("/");
    if (round <= WARM_UP) continue;
    samples.mib.push(await residentMib(agent.pid));
    samples.files.push(openFiles(agent.pid));
    samples.children.push(await children(agent.pid));
  }
  const { mib, files, children: processes } = samples;
  return [
    { name: "resident memory", unit: "MiB", values: mib, growth: { times: 1.1, plus: 8 } },
    { name: "open files and sockets", unit: "", values: files, growth: { times: 1, plus: 3 } },
    { name: "child processes", unit: "", values: processes, growth: { times: 1, plus: 1 } },
  ];
}

async function disturb(
  node: SimNode,
  { shared, killed }: { readonly shared: SimDaemon; readonly killed: SimDaemon },
  round: number,
): Promise<void> {
  if (round % 3 === 0) node.rotatePassword(`password-${round}`);
  if (round % 2 === 0) {
    await node.addInstance(shared, `${node.tokenRegistry.host}/team/app-${round}:v1`);
    const [, oldest] = shared.instances;
    if (shared.instances.length > 5 && oldest) await shared.unmount(oldest.snapshotId);
  }
  if (round % 20 === 10) await killed.kill();
  if (round % 20 === 15) await killed.start();
}

async function residentMib(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+([0-9]+) kB$/m.exec(status)?.[1]) / 1_024;
}

async function children(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "");
  return text.split(" ").filter((word) => word !== "").length;
}
