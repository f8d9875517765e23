/**
 * `deno task measure:refused`: revokes a token on the simulated node before its expiry, when the
 * plugin already issues another. Prints how long reads failed after the first rejection, per nydusd
 * version (2.4.1 uses a new value at its next read, later versions poll every 5 s), and the number of
 * plugin executions. Exits with 1 when reads failed for more than 10 s, or after more than one
 * execution.
 *
 * Then runs a series of revocations, 10 s apart, on one node. Exits with 1 when the reads of any
 * nydusd failed for more than 10 s in total.
 *
 * --rounds N    number of single revocations (default 6)
 * --series N    number of revocations in the series (default 6; 0 skips it)
 */
import { parseArgs } from "node:util";
import type { SimDialect, SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, pause, simNode } from "../e2e/stage.ts";

const BOUND_MS = 10_000;
const READ_EVERY_MS = 100;
const SERIES_EVERY_MS = 10_000;
const VERSIONS = ["2.4.1", "2.4.2", "2.4.4"] as const;
const DIALECTS: readonly SimDialect[] = ["ecr", "gar", "acr", "harbor", "hub", "plain"];

/** Failed reads of one daemon since the last reset. */
interface Failures {
  first: number | undefined;
  last: number | undefined;
  /** Total time during which reads failed. */
  totalMs: number;
}

/** Reads through every mount continuously, and records failures per daemon. */
class Readers implements AsyncDisposable {
  readonly failures = new Map<string, Failures>();
  readonly #done: Promise<void>;
  #going = true;

  constructor(node: SimNode) {
    this.#done = this.#read(node);
  }

  reset(): void {
    for (const failures of this.failures.values()) {
      failures.first = failures.last = undefined;
      failures.totalMs = 0;
    }
  }

  async #read(node: SimNode): Promise<void> {
    let beforeMs = performance.now();
    while (this.#going) {
      const reads = await node.readAll();
      const nowMs = performance.now();
      for (const daemonId of new Set(reads.map((read) => read.daemonId))) {
        const failures = this.failures.get(daemonId) ??
          { first: undefined, last: undefined, totalMs: 0 };
        this.failures.set(daemonId, failures);
        if (reads.every((read) => read.daemonId !== daemonId || read.ok)) continue;
        failures.last = nowMs;
        failures.first ??= nowMs;
        failures.totalMs += nowMs - beforeMs;
      }
      beforeMs = nowMs;
      await pause(READ_EVERY_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#going = false;
    await this.#done;
  }
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** Whether every daemon had failures and no read has failed for two seconds. */
function hasRecovered({ failures }: Readers): boolean {
  const all = [...failures.values()];
  return all.every(({ last }) => last !== undefined && performance.now() - last > 2_000);
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "6" },
    series: { type: "string", default: "6" },
  },
});
const rounds = Number(values.rounds);
const series = Number(values.series);
if (!Number.isInteger(rounds) || rounds < 0 || !Number.isInteger(series) || series < 0) {
  print("measure:refused: --rounds and --series must be integers of 0 or more");
  Deno.exit(2);
}

/** Measures revocations on a new node. */
async function measure(dialect: SimDialect, login: "basic" | "bearer", revocations = 1) {
  await using node = simNode({
    pollMs: 5_000,
    plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 },
  });
  const registry = node.tokenRegistry;
  registry.settings.dialect = dialect;
  registry.settings.login = login;
  const images = ["shop/app", "shop/web"].map((name) => `${registry.host}/${name}:1`);
  for (const version of VERSIONS) {
    await node.addDaemon({ id: version, mode: "shared", images, version });
  }
  await using agent = await AgentProcess.start(node, {
    renewal: 'check_interval = "1h"\nrefresh_interval = "1h"',
  });
  await using readers = new Readers(node);
  const until = (what: string, condition: () => boolean | Promise<boolean>) =>
    agent.until(what, condition).catch(() => {
      throw new Error(`timed out waiting for ${what}\n${agent.log.slice(-2_000)}`);
    });
  await until(
    "proven delivery to every mount",
    async () =>
      (await agent.status()).daemons.every(({ instances }) =>
        instances.every(({ delivery }) => delivery === "proven")
      ),
  );
  await pause(Math.random() * 5_000); // vary the offset to the reconciles and the daemons' polls
  const before = node.pluginExecutions();
  readers.reset();
  for (let i = 0; i < revocations; i++) {
    const [user = "", token = ""] = node.newestPair(images[0] ?? "").split(":");
    registry.revoke(user, token);
    if (revocations > 1) await pause(SERIES_EVERY_MS);
  }
  await until("reads to recover", () => hasRecovered(readers));
  const tookMs = VERSIONS.map((version) => {
    const { first = NaN, last = NaN } = readers.failures.get(version) ?? {};
    return last - first;
  });
  const totalMs = VERSIONS.map((version) => readers.failures.get(version)?.totalMs ?? NaN);
  return { tookMs, totalMs, executions: node.pluginExecutions() - before };
}

function row(...cells: readonly (string | number)[]): string {
  return cells.map((cell) => String(cell).padEnd(10)).join("").trimEnd();
}

print(row("round", "dialect", "login", ...VERSIONS, "executions"));
let worstMs = 0;
let mostExecutions = 0;
for (let round = 0; round < rounds; round++) {
  const dialect = DIALECTS[round % DIALECTS.length] ?? "plain";
  const login = round % 2 === 0 ? "basic" : "bearer";
  const { tookMs, executions } = await measure(dialect, login);
  worstMs = Math.max(worstMs, ...tookMs);
  mostExecutions = Math.max(mostExecutions, executions);
  const seconds = tookMs.map((ms) => `${(ms / 1_000).toFixed(1)} s`);
  print(row(round + 1, dialect, login, ...seconds, executions));
}
if (rounds > 0) print(`longest ${(worstMs / 1_000).toFixed(1)} s, bound ${BOUND_MS / 1_000} s`);
let worstTotalMs = 0;
if (series > 0) {
  const { totalMs, executions } = await measure("plain", "basic", series);
  worstTotalMs = Math.max(...totalMs);
  const seconds = totalMs.map((ms) => `${(ms / 1_000).toFixed(1)} s`);
  print(row("series", "plain", "basic", ...seconds, executions));
  print(`in total ${(worstTotalMs / 1_000).toFixed(1)} s, bound ${BOUND_MS / 1_000} s`);
}
const isGood = worstMs <= BOUND_MS && mostExecutions <= 1 && worstTotalMs <= BOUND_MS;
Deno.exitCode = isGood ? 0 : 1;
