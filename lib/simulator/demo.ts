import { join } from "@std/path";
import { alignColumns, Deadline, EXIT } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { type NodeRead, SimNode } from "./sim_node.ts";

/** Options of {@linkcode demo}. */
export interface DemoOptions {
  readonly output: "text" | "json";
  readonly color: boolean;
}

/**
 * Reads every mount of a simulated node while tokens expire and a password is rotated: first without
 * the agent, then with it. Returns 0 if no read failed with the agent, and every mount has the newest
 * credential at the end.
 */
export async function demo(context: Context, options: DemoOptions): Promise<number> {
  const { host, clock } = context;
  const stop = new AbortController();
  using _signals = host.onSignal(["SIGTERM", "SIGINT"], () => stop.abort());
  const run: DemoRun = {
    ...options,
    selfCommand: host.selfCommand(context.mainUrl),
    isTerminal: host.stdoutIsTerminal,
    write: (text) => host.out(text),
    clock,
    signal: stop.signal,
  };
  try {
    return await runDemo(run);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    host.err("the demo was interrupted\n");
    return EXIT.failed;
  }
}

/** What one run of the demo needs. */
interface DemoRun extends DemoOptions {
  /** Command that runs this program, for the agent and the simulated daemons. */
  readonly selfCommand: readonly string[];
  readonly isTerminal: boolean;
  readonly write: (text: string) => void;
  readonly clock: Context["clock"];
  readonly signal: AbortSignal;
}

/** Read counts of one phase. */
interface Counts {
  readsTried: number;
  readsFailed: number;
  firstFailureAfterMs?: number;
}

/** Result of the demo; the JSON output. */
interface DemoSummary {
  readonly withoutAgent: Readonly<Counts>;
  readonly withAgent: Readonly<Counts>;
  readonly rotations: number;
  readonly tokenExpiries: number;
  readonly renewals: number;
  readonly pluginExecutions: number;
  readonly allNewest: boolean;
  readonly ok: boolean;
}

const TOKEN_LIFETIME_MS = 4_000;
const WITHOUT_MS = 6_000;
const WITH_MS = 13_000;
const READ_EVERY_MS = 250;
const OVERLAP_MS = 3_000;
const READY_WITHIN_MS = 15_000;
const COMPLETE_AFTER_MS = 3_000;
const ANSWER_WITHIN_MS = 2_000;

async function runDemo(options: DemoRun): Promise<number> {
  const screen = new Screen(options);
  screen.print(
    "A simulated node: 3 nydusd, 5 mounts, tokens with a lifetime of 4 s, and a password in a",
  );
  screen.print("docker configuration. Every mount is read four times per second.\n");
  const withoutAgent = await withNode(options, (node) => readWithoutAgent(node, options, screen));
  const { log, ...result } = await withNode(
    options,
    (node) => readWithAgent(node, options, screen),
  );
  const ok = result.withAgent.readsFailed === 0 && result.allNewest;
  const summary: DemoSummary = { withoutAgent, ...result, ok };
  screen.end(summary);
  if (!ok && log !== "") screen.print(`Last lines of the agent's log:\n${log}`);
  return ok ? 0 : 1;
}

async function withNode<T>(options: DemoRun, work: (node: SimNode) => Promise<T>): Promise<T> {
  await using node = SimNode.start({
    selfCommand: options.selfCommand,
    pollMs: 500,
    plugin: { lifetimeMs: TOKEN_LIFETIME_MS, cacheDuration: "2s" },
  });
  const app = `${node.tokenRegistry.host}/shop/app:v1`;
  const web = `${node.tokenRegistry.host}/shop/web:v1`;
  const base = `${node.passwordRegistry.host}/base/os:12`;
  await node.addDaemon({ id: "daemon-1", mode: "dedicated", images: [app] });
  await node.addDaemon({ id: "daemon-2", mode: "dedicated", images: [base], version: "2.4.1" });
  await node.addDaemon({ id: "daemon-3", mode: "shared", images: [app, web, base] });
  return await work(node);
}

async function readWithoutAgent(
  node: SimNode,
  options: DemoRun,
  screen: Screen,
): Promise<Counts> {
  screen.print("Without the agent:");
  const counts: Counts = { readsTried: 0, readsFailed: 0 };
  await readFor(WITHOUT_MS, node, options, counts, screen, () => {});
  screen.print(
    `  ${counts.readsFailed} of ${counts.readsTried} reads failed; the first after ` +
      `${((counts.firstFailureAfterMs ?? 0) / 1000).toFixed(1)} s.\n`,
  );
  return counts;
}

async function readWithAgent(node: SimNode, options: DemoRun, screen: Screen) {
  const { selfCommand } = options;
  const port = freePort();
  const configPath = join(node.dir, "agent.toml");
  await Deno.writeTextFile(configPath, agentConfig(node, port), { mode: 0o600 });
  const agent = startCompanion(
    [...selfCommand, "run", "--config", configPath],
    join(node.dir, "agent.log"),
  );
  const found = await readWhileRunning(agent, port, node, options, screen);
  // The log is complete now that the agent has exited.
  return { ...found, log: (await agent.log()).trimEnd().split("\n").slice(-15).join("\n") };
}

async function readWhileRunning(
  agent: ReturnType<typeof startCompanion>,
  port: number,
  node: SimNode,
  options: DemoRun,
  screen: Screen,
) {
  await using _ended = agent;
  const { clock, signal } = options;
  const pulls = node.pluginExecutions();
  screen.print("With the agent:");
  const counts: Counts = { readsTried: 0, readsFailed: 0 };
  await untilReady(port, options);
  let rotations = 0;
  await readFor(WITH_MS, node, options, counts, screen, (elapsedMs) => {
    if (rotations === 0 && elapsedMs > WITH_MS / 2) {
      rotations++;
      node.rotatePassword("second", OVERLAP_MS);
      screen.print("  the password in the docker configuration is rotated");
    }
  });
  const deadlineMs = clock.monotonicMs() + COMPLETE_AFTER_MS;
  let allNewest = await node.allNewest();
  while (!allNewest && clock.monotonicMs() < deadlineMs) {
    await clock.sleep(50, { signal });
    allNewest = await node.allNewest();
  }
  return {
    withAgent: counts,
    rotations,
    tokenExpiries: Math.floor(WITH_MS / TOKEN_LIFETIME_MS),
    renewals: await renewals(port),
    pluginExecutions: node.pluginExecutions() - pulls,
    allNewest,
  };
}

async function readFor(
  ms: number,
  node: SimNode,
  { clock, signal }: DemoRun,
  counts: Counts,
  screen: Screen,
  onRound: (elapsedMs: number) => void,
): Promise<void> {
  const startedMs = clock.monotonicMs();
  for (let elapsedMs = 0; elapsedMs < ms; elapsedMs = clock.monotonicMs() - startedMs) {
    onRound(elapsedMs);
    const reads = await node.readAll();
    counts.readsTried += reads.length;
    const failed = reads.filter(({ ok }) => !ok).length;
    counts.readsFailed += failed;
    if (failed > 0) counts.firstFailureAfterMs ??= Math.round(elapsedMs);
    screen.show(elapsedMs, reads, counts);
    await clock.sleep(READ_EVERY_MS, { signal });
  }
  screen.leave();
}

function agentConfig(node: SimNode, port: number): string {
  return [
    "[snapshotter]",
    `config = "${node.snapshotterConfigPath}"`,
    "[renewal]",
    'check_interval = "1s"',
    'refresh_interval = "2s"',
    "[providers.docker]",
    `config = "${node.dockerConfigPath}"`,
    "[server]",
    `address = "127.0.0.1:${port}"`,
    "[api]",
    'socket = "off"',
    "",
  ].join("\n");
}

async function untilReady(port: number, { clock, signal }: DemoRun): Promise<void> {
  const deadlineMs = clock.monotonicMs() + READY_WITHIN_MS;
  while (clock.monotonicMs() < deadlineMs) {
    if ((await get(port, "/readyz"))?.ok) return;
    await clock.sleep(50, { signal });
  }
}

async function get(port: number, path: string): Promise<Response | undefined> {
  using deadline = new Deadline(ANSWER_WITHIN_MS);
  try {
    const { signal } = deadline;
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { signal });
    return new Response(await response.text(), response);
  } catch {
    return undefined;
  }
}

async function renewals(port: number): Promise<number> {
  const text = await (await get(port, "/metrics"))?.text() ?? "";
  return [...text.matchAll(/^snapshotter_credential_renewals_total\{[^}]*success[^}]*\} (\d+)/gm)]
    .reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Prints a live table in a terminal, one line per second in a pipe, only the result as JSON. */
class Screen {
  readonly #options: DemoRun;
  #lines = 0;
  #reportedAtMs = -Infinity;

  constructor(options: DemoRun) {
    this.#options = options;
  }

  print(text: string): void {
    if (this.#options.output === "text") this.#options.write(`${text}\n`);
  }

  show(elapsedMs: number, reads: readonly NodeRead[], counts: Counts): void {
    if (this.#options.output !== "text") return;
    const { readsTried, readsFailed } = counts;
    const head = `  ${
      (elapsedMs / 1000).toFixed(1).padStart(4)
    } s  ${readsTried} reads, ${readsFailed} failed`;
    if (!this.#options.isTerminal) {
      if (elapsedMs - this.#reportedAtMs < 1_000) return;
      this.#reportedAtMs = elapsedMs;
      const bad = reads.filter(({ ok }) => !ok).map((r) => `${r.daemonId}/${r.snapshotId}`);
      return this.print(bad.length === 0 ? head : `${head}; rejected: ${bad.join(", ")}`);
    }
    const rows = reads.map(({ daemonId, snapshotId, image, ok, status }) => [
      " ",
      daemonId,
      snapshotId,
      image,
      this.#mark(ok, status),
    ]);
    const text = `${head}\n${alignColumns(rows)}`;
    const back = this.#lines === 0 ? "" : `\x1b[${this.#lines}A\x1b[J`;
    this.#options.write(back + text);
    this.#lines = text.split("\n").length - 1;
  }

  /** Continues below the table. */
  leave(): void {
    this.#lines = 0;
    this.#reportedAtMs = -Infinity;
  }

  end(summary: DemoSummary): void {
    if (this.#options.output === "json") {
      return this.#options.write(`${JSON.stringify(summary, null, 2)}\n`);
    }
    const { withoutAgent, withAgent } = summary;
    this.print("");
    this.print(alignColumns([
      ["", "without", "with the agent"],
      ["reads tried", String(withoutAgent.readsTried), String(withAgent.readsTried)],
      ["reads failed", String(withoutAgent.readsFailed), String(withAgent.readsFailed)],
      ["password rotations", "0", String(summary.rotations)],
      ["token lifetimes passed", "1", String(summary.tokenExpiries)],
      ["renewals", "0", String(summary.renewals)],
      ["plugin executions", "0", String(summary.pluginExecutions)],
      ["newest credential in every mount", "no", summary.allNewest ? "yes" : "no"],
    ]));
    this.print(summary.ok ? "ok: no read failed with the agent" : "FAILED");
  }

  #mark(ok: boolean, status: number): string {
    const text = ok ? "read" : `rejected (${status})`;
    return this.#options.color ? `\x1b[${ok ? 32 : 31}m${text}\x1b[0m` : text;
  }
}

/** A child process that runs in the background and writes its standard error to a file. */
interface RunningCompanion extends AsyncDisposable {
  log(): Promise<string>;
}

const STOP_TIMEOUT_MS = 5_000;

/** Starts a program. Disposing sends TERM, then KILL if it does not exit. */
function startCompanion(command: readonly string[], logPath: string): RunningCompanion {
  const [path = "", ...args] = command;
  const child = new Deno.Command(path, { args, stdin: "null", stdout: "null", stderr: "piped" })
    .spawn();
  const file = Deno.openSync(logPath, { write: true, create: true, mode: 0o600 });
  const copied = child.stderr.pipeTo(file.writable).catch(() => {});
  return {
    log: () => Deno.readTextFile(logPath),
    async [Symbol.asyncDispose]() {
      const kill = (name: Deno.Signal) => {
        try {
          child.kill(name);
        } catch {
          // The process has exited.
        }
      };
      kill("SIGTERM");
      const timer = setTimeout(() => kill("SIGKILL"), STOP_TIMEOUT_MS);
      await child.status;
      clearTimeout(timer);
      await copied;
    },
  };
}

/** Returns a loopback port that is currently unused. */
function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}
