import { join } from "@std/path";
import { alignColumns, Deadline, defined, EXIT } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { freePort } from "./ports.ts";
import { SimNode } from "./sim_node.ts";

/** Options of {@linkcode demo}. */
export interface DemoOptions {
  readonly output: "text" | "json";
  readonly color: boolean;
}

/** Multiplies every time, for an emulated machine, on which a reconcile takes seconds. */
const PACE = Number(Deno.env.get("NYDUS_DEMO_PACE") ?? 1);
const TOKEN_LIFETIME_MS = 5_000 * PACE;
const RUN_MS = 14_000 * PACE;
const ROTATED_AFTER_MS = 6_000 * PACE;
const OVERLAP_MS = 3_000 * PACE;
const READ_EVERY_MS = 250 * PACE;
const READY_WITHIN_MS = 15_000 * PACE;
const COMPLETE_WITHIN_MS = 3_000 * PACE;
const ANSWER_WITHIN_MS = 2_000 * PACE;
const NAMES = ["shop/app:v1", "shop/web:v1", "base/os:12"] as const;
type Name = typeof NAMES[number];

/**
 * Reads every mount of two equal simulated nodes while tokens expire and a password is rotated; the
 * agent runs on one of them. Returns 0 if no read failed with the agent, and every mount has the
 * newest credential at the end.
 */
export async function demo(context: Context, options: DemoOptions): Promise<number> {
  const { host } = context;
  const stop = new AbortController();
  using _signals = host.onSignal(["SIGTERM", "SIGINT"], () => stop.abort());
  try {
    // A stack: the minifier drops a `using` variable that is used once.
    await using sides = new AsyncDisposableStack();
    const withAgent = sides.use(new Side(context));
    const withoutAgent = sides.use(new Side(context));
    return await new Demo(context, options, withAgent, withoutAgent, stop.signal).run();
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    host.err("the demo was interrupted\n");
    return EXIT.failed;
  }
}

/** Reads of an image, through all its mounts. */
interface Reads {
  tried: number;
  failed: number;
  /** Whether the last read failed. */
  failing: boolean;
}

/** A node, and the reads through its mounts. */
class Side implements AsyncDisposable {
  readonly node: SimNode;
  readonly reads: Readonly<Record<Name, Reads>>;
  /** Wall time (ms) at which the credentials in nydusd expire, by image. */
  readonly expiresAtMs = new Map<string, number>();
  /** Distinct tokens in nydusd so far, and the wall time (ms) at which they expire. */
  readonly tokens = new Map<string, number>();
  #firstTokens = 0;
  #firstExecutions = 0;

  constructor({ host, mainUrl }: Context) {
    this.node = SimNode.start({
      selfCommand: host.selfCommand(mainUrl),
      pollMs: 500,
      plugin: { lifetimeMs: TOKEN_LIFETIME_MS, cacheDuration: `${3 * PACE}s` },
    });
    const none = (): Reads => ({ tried: 0, failed: 0, failing: false });
    this.reads = { "shop/app:v1": none(), "shop/web:v1": none(), "base/os:12": none() };
  }

  /** Starts the daemons, whose mounts have the credentials of a pull. */
  async mount(): Promise<void> {
    const { node } = this;
    const image = (name: Name) =>
      `${name === "base/os:12" ? node.passwordRegistry.host : node.tokenRegistry.host}/${name}`;
    const [app, web, base] = NAMES.map(image) as [string, string, string];
    await node.addDaemon({ id: "daemon-1", mode: "dedicated", images: [app] });
    await node.addDaemon({ id: "daemon-2", mode: "dedicated", images: [base], version: "2.4.1" });
    await node.addDaemon({ id: "daemon-3", mode: "shared", images: [app, web, base] });
    await this.#observe();
    this.#firstTokens = this.tokens.size;
    this.#firstExecutions = node.pluginExecutions();
  }

  /** Reads through every mount. */
  async read(): Promise<void> {
    const reads = await this.node.readAll();
    for (const name of NAMES) {
      const ours = reads.filter(({ image }) => image.endsWith(name));
      const failed = ours.filter(({ ok }) => !ok).length;
      this.reads[name].tried += ours.length;
      this.reads[name].failed += failed;
      this.reads[name].failing = failed > 0;
    }
    await this.#observe();
  }

  /** Notes the credentials in nydusd. */
  async #observe(): Promise<void> {
    this.expiresAtMs.clear();
    for (const daemon of this.node.daemons.values()) {
      for (const { image, mountId } of daemon.instances) {
        const pair = await daemon.currentAuth(mountId) ?? "";
        const isToken = image.startsWith(this.node.tokenRegistry.host);
        const { tokenRegistry, passwordRegistry } = this.node;
        const expiresAtMs = (isToken ? tokenRegistry : passwordRegistry).expiresAtMs(pair);
        const name = NAMES.find((name) => image.endsWith(name)) ?? "";
        this.expiresAtMs.set(name, Math.min(this.expiresAtMs.get(name) ?? Infinity, expiresAtMs));
        if (isToken) this.tokens.set(pair, expiresAtMs);
      }
    }
  }

  async result(): Promise<SideResult> {
    const sum = (key: "tried" | "failed") =>
      NAMES.reduce((total, name) => total + this.reads[name][key], 0);
    return {
      readsTried: sum("tried"),
      readsFailed: sum("failed"),
      newTokens: this.tokens.size - this.#firstTokens,
      pluginExecutions: this.node.pluginExecutions() - this.#firstExecutions,
      allNewest: await this.node.allNewest(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.node[Symbol.asyncDispose]();
  }
}

class Demo {
  readonly #context: Context;
  readonly #options: DemoOptions;
  readonly #withAgent: Side;
  readonly #withoutAgent: Side;
  readonly #signal: AbortSignal;
  readonly #port = freePort();
  /** Provider of each image, as the agent reports it. */
  readonly #providers = new Map<string, string>();
  #startedMs = 0;
  #tableLines = 0;

  constructor(
    context: Context,
    options: DemoOptions,
    withAgent: Side,
    withoutAgent: Side,
    signal: AbortSignal,
  ) {
    this.#context = context;
    this.#options = options;
    this.#withAgent = withAgent;
    this.#withoutAgent = withoutAgent;
    this.#signal = signal;
  }

  async run(): Promise<number> {
    const { host, mainUrl } = this.#context;
    const { node } = this.#withAgent;
    this.#print(
      "Two equal simulated nodes, each with 3 nydusd and 5 mounts, which are read four\n" +
        "times per second. Tokens are valid for 5 s. The agent runs on one of them.\n",
    );
    const configPath = join(node.dir, "agent.toml");
    await Deno.writeTextFile(configPath, agentConfig(node, this.#port), { mode: 0o600 });
    const agent = startCompanion(
      [...host.selfCommand(mainUrl), "run", "--config", configPath],
      join(node.dir, "agent.log"),
    );
    let ok = false;
    {
      await using _ended = agent;
      await this.#until(READY_WITHIN_MS, async () => (await this.#get("/readyz"))?.ok === true);
      ok = await this.#measure();
    }
    if (!ok) this.#print(`Last lines of the agent's log:\n${tail(await agent.log())}`);
    return ok ? 0 : 1;
  }

  async #measure(): Promise<boolean> {
    const { clock } = this.#context;
    const sides = [this.#withAgent, this.#withoutAgent];
    await Promise.all(sides.map((side) => side.mount()));
    this.#startedMs = clock.monotonicMs();
    const expired = new Set<string>();
    let firstFailureAfterMs: number | undefined;
    let rotations = 0;
    for (let elapsedMs = 0; elapsedMs < RUN_MS;) {
      if (rotations === 0 && elapsedMs > ROTATED_AFTER_MS) {
        rotations++;
        for (const { node } of sides) node.rotatePassword("second", OVERLAP_MS);
        this.#event(
          "the docker password is rotated, and the old one expires in 3 s",
        );
      }
      const known = new Set(this.#withAgent.tokens.keys());
      const wereFailing = NAMES.filter((name) => this.#withoutAgent.reads[name].failing);
      await Promise.all(sides.map((side) => side.read()));
      elapsedMs = clock.monotonicMs() - this.#startedMs;
      for (const token of this.#withAgent.tokens.keys()) {
        if (!known.has(token)) this.#event("nydusd has a new token");
      }
      const ended = [...this.#withAgent.tokens].filter(([token, expiresAtMs]) =>
        expiresAtMs <= clock.wallMs() && !expired.has(token)
      );
      for (const [token] of ended) expired.add(token);
      if (ended.length > 0) {
        this.#event(
          ended.length === 1 ? "an old token expired" : `${ended.length} old tokens expired`,
        );
      }
      for (const name of NAMES) {
        if (!this.#withoutAgent.reads[name].failing || wereFailing.includes(name)) continue;
        firstFailureAfterMs ??= Math.round(elapsedMs);
        this.#event(`without the agent: the credential of ${name} expired, reads fail`);
      }
      await this.#updateProviders();
      this.#show();
      await clock.sleep(READ_EVERY_MS, { signal: this.#signal });
    }
    await this.#until(COMPLETE_WITHIN_MS, () => this.#withAgent.node.allNewest());
    const withAgent = await this.#withAgent.result();
    const ok = withAgent.readsFailed === 0 && withAgent.allNewest;
    this.#end({
      withAgent,
      withoutAgent: {
        ...await this.#withoutAgent.result(),
        ...defined({ firstFailureAfterMs }),
      },
      rotations,
      tokenExpiries: expired.size,
      ok,
    });
    return ok;
  }

  async #updateProviders(): Promise<void> {
    const response = await this.#get("/v1/status");
    if (!response?.ok) return;
    for (const { image, provider = "none" } of (await response.json()).images) {
      const name = NAMES.find((name) => image.endsWith(name));
      if (name !== undefined) this.#providers.set(name, provider);
    }
  }

  #table(): string {
    const nowMs = this.#context.clock.wallMs();
    const state = (reads: Reads) => reads.failing ? "failing" : "ok";
    const expiresIn = (name: Name) => {
      const ms = (this.#withAgent.expiresAtMs.get(name) ?? Infinity) - nowMs;
      return ms === Infinity ? "-" : ms <= 0 ? "expired" : `${(ms / 1_000).toFixed(1)} s`;
    };
    const reads = ({ tried, failed }: Reads) => `${tried}, ${failed} failed`;
    return alignColumns([
      ["IMAGE", "PROVIDER", "EXPIRES IN", "STATE", "READS", "WITHOUT THE AGENT"],
      ...NAMES.map((name) => {
        const [ours, others] = [this.#withAgent.reads[name], this.#withoutAgent.reads[name]];
        const provider = this.#providers.get(name) ?? "-";
        return [name, provider, expiresIn(name), state(ours), reads(ours), reads(others)];
      }),
    ]);
  }

  /** Prints a line above the live table. */
  #event(text: string): void {
    const seconds = (this.#context.clock.monotonicMs() - this.#startedMs) / 1_000;
    this.#erase();
    this.#print(`${seconds.toFixed(1).padStart(5)} s  ${text}`);
  }

  /** Shows the live table in a terminal. */
  #show(): void {
    const { host } = this.#context;
    if (this.#options.output !== "text" || !host.stdoutIsTerminal) return;
    const { columns } = host.terminalSize();
    const lines = this.#table().trimEnd().split("\n").map((line) => line.slice(0, columns - 1));
    this.#erase();
    host.out(`${this.#colored(lines.join("\n"))}\n`);
    this.#tableLines = lines.length;
  }

  #erase(): void {
    if (this.#tableLines > 0) this.#context.host.out(`\x1b[${this.#tableLines}A\x1b[J`);
    this.#tableLines = 0;
  }

  #colored(text: string): string {
    if (!this.#options.color) return text;
    return text.replaceAll(/ ok /g, " \x1b[32mok\x1b[0m ")
      .replaceAll(/ failing /g, " \x1b[31mfailing\x1b[0m ");
  }

  #end(summary: Summary): void {
    this.#erase();
    if (this.#options.output === "json") {
      this.#context.host.out(`${JSON.stringify(summary, null, 2)}\n`);
      return;
    }
    const { withAgent, withoutAgent } = summary;
    const row = (title: string, key: keyof SideResult) => {
      const cell = (value: number | boolean) =>
        typeof value === "number" ? String(value) : value ? "yes" : "no";
      return [title, cell(withAgent[key]), cell(withoutAgent[key])];
    };
    this.#print(`\n${this.#table()}`);
    this.#print(alignColumns([
      ["", "with the agent", "without"],
      row("reads", "readsTried"),
      row("failed reads", "readsFailed"),
      row("new tokens in nydusd", "newTokens"),
      row("plugin executions", "pluginExecutions"),
      row("newest credential in every mount", "allNewest"),
    ]));
    this.#print(summary.ok ? "ok: no read failed with the agent" : "FAILED");
  }

  #print(text: string): void {
    if (this.#options.output === "text") this.#context.host.out(`${text}\n`);
  }

  async #until(ms: number, condition: () => Promise<boolean>): Promise<boolean> {
    const { clock } = this.#context;
    for (const untilMs = clock.monotonicMs() + ms; !await condition();) {
      if (clock.monotonicMs() > untilMs) return false;
      await clock.sleep(50, { signal: this.#signal });
    }
    return true;
  }

  async #get(path: string): Promise<Response | undefined> {
    using deadline = new Deadline(ANSWER_WITHIN_MS);
    try {
      const { signal } = deadline;
      const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, { signal });
      return new Response(await response.text(), response);
    } catch {
      return undefined;
    }
  }
}

/** What was measured on one node. */
interface SideResult {
  readonly readsTried: number;
  readonly readsFailed: number;
  readonly newTokens: number;
  readonly pluginExecutions: number;
  readonly allNewest: boolean;
}

/** Result of the demo; the JSON output. */
interface Summary {
  readonly withAgent: SideResult;
  readonly withoutAgent: SideResult & { readonly firstFailureAfterMs?: number };
  readonly rotations: number;
  readonly tokenExpiries: number;
  readonly ok: boolean;
}

function tail(log: string): string {
  return log.trimEnd().split("\n").slice(-15).join("\n");
}

function agentConfig(node: SimNode, port: number): string {
  return [
    "[snapshotter]",
    `config = "${node.snapshotterConfigPath}"`,
    "[renewal]",
    'check_interval = "1s"',
    `refresh_interval = "${2 * PACE}s"`,
    "[providers.docker]",
    `config = "${node.dockerConfigPath}"`,
    "[server]",
    `address = "127.0.0.1:${port}"`,
    "[api]",
    'socket = "off"',
    "",
  ].join("\n");
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
