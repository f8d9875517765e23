// deno-lint-ignore-file no-console -- a benchmark prints its results
/**
 * `deno task bench:idle [--seconds N] [--mounts N,N] [--peer PID]`: prints what the agent costs while
 * nothing changes, beside simulated nodes with 3, 23 and 100 mounts: CPU, voluntary context switches,
 * system calls (with strace), resident and anonymous memory; and how fast it then reacts. Measures
 * the binary in `NYDUS_AUTH_AGENT_BINARY`, or the source. `--peer` adds another process.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { AgentProcess, pause, simNode } from "../tests/e2e/stage.ts";
import { ManyDaemons } from "./bench/many_daemons.ts";
import { percentile } from "./bench/rows.ts";
import { countSystemCalls, readUsage } from "./lib/process_usage.ts";

/** Folders are read in full for 30 s after a change. */
const WARM_UP_MS = 40_000;
const STRACE_SECONDS = 20;
const ROUNDS = 10;

interface Subject {
  readonly name: string;
  readonly pid: number;
}

async function measure({ name, pid }: Subject, seconds: number): Promise<readonly string[]> {
  const before = readUsage(pid);
  await pause(seconds * 1_000);
  const { cpuMs, switches, residentMib, anonymousMib } = readUsage(pid);
  const calls = await countSystemCalls(pid, STRACE_SECONDS);
  return [
    name,
    `${((cpuMs - before.cpuMs) / seconds / 10).toFixed(3)} %`,
    `${((switches - before.switches) / seconds).toFixed(1)}/s`,
    calls === undefined ? "-" : `${(calls / STRACE_SECONDS).toFixed(0)}/s`,
    `${residentMib.toFixed(0)} MiB`,
    `${anonymousMib.toFixed(0)} MiB`,
  ];
}

/** A node with an agent; each mount has received its credential. */
class IdleNode implements AsyncDisposable {
  readonly #node = simNode();
  readonly #resources = new AsyncDisposableStack();
  readonly #mounts: number;
  #daemons!: ManyDaemons;
  agent!: AgentProcess;

  constructor(mounts: number) {
    this.#mounts = mounts;
    this.#resources.use(this.#node);
  }

  async start(): Promise<Subject> {
    this.#daemons = this.#resources.use(this.#add(this.#mounts, ""));
    this.agent = this.#resources.use(await AgentProcess.start(this.#node, { renewal: "" }));
    await this.#arrived(this.#daemons, this.#mounts);
    return { name: `agent, ${this.#mounts} mounts`, pid: this.agent.pid };
  }

  /** Returns how long a changed docker configuration takes to the last nydusd (ms). */
  async rotate(round: number): Promise<number> {
    this.#daemons.clearArrivals();
    const startedMs = Date.now();
    this.#node.rotatePassword(`rotated-${round}`);
    return await this.#arrived(this.#daemons, this.#mounts) - startedMs;
  }

  /** Returns how long the credential for a new mount takes (ms). */
  async mount(round: number): Promise<number> {
    const startedMs = Date.now();
    using daemons = this.#add(1, `new-${round}-`);
    return await this.#arrived(daemons, 1) - startedMs;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }

  #add(count: number, name: string): ManyDaemons {
    const { host } = this.#node.passwordRegistry;
    return new ManyDaemons(
      this.#node,
      count,
      (i) => `${host}/team/app-${name}${i}:v1`,
      `${name}many-`,
    );
  }

  async #arrived(daemons: ManyDaemons, count: number): Promise<number> {
    await this.agent.until("the credentials", () => daemons.arrivals.length === count);
    return Math.max(...daemons.arrivals.map(({ storedAtMs }) => storedAtMs));
  }
}

async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: "string", default: "60" },
      mounts: { type: "string", default: "3,23,100" },
      peer: { type: "string", multiple: true, default: [] },
    },
  });
  await using resources = new AsyncDisposableStack();
  const nodes = values.mounts.split(",").map((count) => new IdleNode(Number(count)));
  const subjects: Subject[] = values.peer.map((pid) => ({ name: `peer ${pid}`, pid: Number(pid) }));
  for (const node of nodes) subjects.push(await resources.use(node).start());
  await pause(WARM_UP_MS);
  const rows = await Promise.all(
    subjects.map((subject) => measure(subject, Number(values.seconds))),
  );
  printTable([["", "CPU", "switches", "system calls", "resident", "anonymous"], ...rows]);
  const latencies: string[][] = [];
  for (const [i, node] of nodes.entries()) {
    const rotated: number[] = [];
    const mounted: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      // Any moment between two scans of the agent.
      await pause(2_000 + Math.random() * 1_000);
      rotated.push(await node.rotate(round));
      await pause(2_000 + Math.random() * 1_000);
      mounted.push(await node.mount(round));
    }
    const name = values.mounts.split(",")[i] + " mounts";
    latencies.push([name, medianAndWorst(rotated), medianAndWorst(mounted)]);
  }
  console.log();
  printTable([["median (worst)", "docker configuration", "new mount"], ...latencies]);
}

function medianAndWorst(samples: readonly number[]): string {
  return `${percentile(samples, 0.5)} (${Math.max(...samples)}) ms`;
}

function printTable(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  for (const row of rows) {
    console.log(row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ").trimEnd());
  }
}

if (import.meta.main) await main(Deno.args);
