/**
 * `deno task measure:refused`: on the simulated node a token is revoked in the middle of its life,
 * and the source already has another. Prints for how long reads failed, from the first refusal on,
 * by nydusd's version (2.4.1 takes a new value at its next read, later ones look every 5 s), and
 * what it cost. Exits with 1 when that was more than 10 s, or more than one execution.
 *
 * --rounds N    how often (default 6)
 */
import { parseArgs } from "node:util";
import type { SimDialect, SimNode } from "../../lib/simnode/mod.ts";
import { AgentProcess, pause, simNode } from "../e2e/stage.ts";

const BOUND_MS = 10_000;
const READ_EVERY_MS = 100;
const VERSIONS = ["2.4.1", "2.4.2", "2.4.4"] as const;
const DIALECTS: readonly SimDialect[] = ["ecr", "gar", "acr", "harbor", "hub", "plain"];

/** The reads of one daemon that failed since they were last forgotten. */
interface Failures {
  first: number | undefined;
  last: number | undefined;
}

/** Reads through every mount all the time, and notes by daemon when reads failed. */
class Readers implements AsyncDisposable {
  readonly failures = new Map<string, Failures>();
  readonly #done: Promise<void>;
  #going = true;

  constructor(node: SimNode) {
    this.#done = this.#read(node);
  }

  forget(): void {
    for (const failures of this.failures.values()) failures.first = failures.last = undefined;
  }

  async #read(node: SimNode): Promise<void> {
    while (this.#going) {
      for (const { daemonId, ok } of await node.readAll()) {
        const failures = this.failures.get(daemonId) ?? { first: undefined, last: undefined };
        this.failures.set(daemonId, failures);
        if (ok) continue;
        failures.last = performance.now();
        failures.first ??= failures.last;
      }
      await pause(READ_EVERY_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#going = false;
    await this.#done;
  }
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** Whether no read has failed for two seconds, after all daemons have seen failures. */
function isOver({ failures }: Readers): boolean {
  const all = [...failures.values()];
  return all.every(({ last }) => last !== undefined && performance.now() - last > 2_000);
}

const { values } = parseArgs({ options: { rounds: { type: "string", default: "6" } } });
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) {
  say("measure:refused: --rounds is a number from 1");
  Deno.exit(2);
}

/** One revocation, on a node of its own: a second one at once would wait for its step. */
async function measure(dialect: SimDialect, login: "basic" | "bearer") {
  await using node = simNode({
    pollMs: 5_000,
    plugin: { cacheDuration: "1h", lifeMs: 3_600_000 },
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
  const until = (what: string, holds: () => boolean | Promise<boolean>) =>
    agent.until(what, holds).catch(() => {
      throw new Error(`waited for ${what} in vain\n${agent.log.slice(-2_000)}`);
    });
  await until(
    "every mount proven",
    async () =>
      (await agent.status()).daemons.every(({ instances }) =>
        instances.every(({ delivery }) => delivery === "proven")
      ),
  );
  await pause(Math.random() * 5_000); // another moment of the agent's turns and the daemons'
  const before = node.pluginExecutions();
  const [user = "", token = ""] = node.newestPair(images[0] ?? "").split(":");
  readers.forget();
  registry.revoke(user, token);
  await until("reads to be whole again", () => isOver(readers));
  const tookMs = VERSIONS.map((version) => {
    const { first = NaN, last = NaN } = readers.failures.get(version) ?? {};
    return last - first;
  });
  return { tookMs, executions: node.pluginExecutions() - before };
}

function row(...cells: readonly (string | number)[]): string {
  return cells.map((cell) => String(cell).padEnd(10)).join("").trimEnd();
}

say(row("round", "words", "login", ...VERSIONS, "executions"));
let worstMs = 0;
let mostExecutions = 0;
for (let round = 0; round < rounds; round++) {
  const dialect = DIALECTS[round % DIALECTS.length] ?? "plain";
  const login = round % 2 === 0 ? "basic" : "bearer";
  const { tookMs, executions } = await measure(dialect, login);
  worstMs = Math.max(worstMs, ...tookMs);
  mostExecutions = Math.max(mostExecutions, executions);
  const seconds = tookMs.map((ms) => `${(ms / 1_000).toFixed(1)} s`);
  say(row(round + 1, dialect, login, ...seconds, executions));
}
say(`longest ${(worstMs / 1_000).toFixed(1)} s, bound ${BOUND_MS / 1_000} s`);
Deno.exitCode = worstMs <= BOUND_MS && mostExecutions <= 1 ? 0 : 1;
