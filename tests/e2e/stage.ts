import { join } from "@std/path";
import type { AgentStatus } from "../../lib/model/mod.ts";
import { withTimesInMs } from "../../lib/observability/mod.ts";
import { freePort, SimNode, type SimNodeOptions } from "../../lib/simulator/mod.ts";
import { containsSecret } from "../canary/detector.ts";

const CONFIG = new URL("../../deno.json", import.meta.url).pathname;
/** The agent's main module: a bundle if `scripts/test.ts` has made one. */
const MAIN = Deno.env.get("NYDUS_TEST_MAIN") ?? new URL("../../main.ts", import.meta.url).pathname;
/** The compiled binary, if the tests run against it. */
const BINARY = Deno.env.get("NYDUS_AUTH_AGENT_BINARY");
/** The command that runs the agent's program. */
export const PROGRAM: readonly string[] = BINARY === undefined
  ? [Deno.execPath(), "run", "-A", "--quiet", "--no-check", "--config", CONFIG, MAIN]
  : [BINARY];

/** Exit code and output of a command. */
export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/**
 * Runs a command of the program with a minimal environment. `before` is a wrapper that executes it.
 */
export async function command(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  before: readonly string[] = [],
): Promise<Ended> {
  const [path = "", ...rest] = [...before, ...PROGRAM];
  const { code, stdout, stderr } = await new Deno.Command(path, {
    args: [...rest, ...args],
    stdin: "null",
    clearEnv: true,
    env: { ...cleanEnv(), ...env },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

/** Runs a program with an environment and a standard input. */
export async function runWith(
  [path = "", ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
  input: string,
): Promise<Ended> {
  await using child = new Deno.Command(path, {
    args,
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

/** The compiled binary gets an empty environment; deno needs to find its cache. */
function cleanEnv(): Record<string, string> {
  if (BINARY !== undefined) return { PATH: "", HOME: "/nonexistent" };
  const { PATH = "", HOME = "", DENO_DIR, DENO_TLS_CA_STORE } = Deno.env.toObject();
  return {
    PATH,
    HOME,
    DENO_DIR: DENO_DIR ?? join(HOME, ".cache", "deno"), // also for a test with a HOME of its own
    DENO_NO_UPDATE_CHECK: "1",
    ...(DENO_TLS_CA_STORE !== undefined && { DENO_TLS_CA_STORE }),
  };
}

/** Creates a simulated node, whose daemons poll for new credentials often. */
export function simNode(options: Omit<SimNodeOptions, "selfCommand"> = {}): SimNode {
  return SimNode.start({ selfCommand: PROGRAM, pollMs: 100, ...options });
}

/** Additional configuration of the agent, as TOML. */
export interface AgentOptions {
  readonly renewal?: string;
  readonly more?: string;
  readonly snapshotter?: string;
  readonly api?: string;
  /** Added to its minimal environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** A wrapper that executes the agent, with other permissions. */
  readonly by?: readonly string[];
  /** Replaces the agent's program. */
  readonly program?: readonly string[];
}

/** Waits until a condition is true, with a generous timeout. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  detail: () => string = () => "",
): Promise<void> {
  const deadlineMs = Date.now() + 150_000;
  while (!await holds()) {
    if (Date.now() > deadlineMs) throw new Error(`timed out waiting for ${what}\n${detail()}`);
    await pause(100);
  }
}

/** The agent as a process. */
export class AgentProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #base: string;
  readonly #copied: Promise<void>;
  readonly #node: SimNode;
  #log = "";

  private constructor(child: Deno.ChildProcess, port: number, node: SimNode) {
    this.#child = child;
    this.#node = node;
    this.#base = `http://127.0.0.1:${port}`;
    this.#copied = this.#copy();
  }

  /** Starts the agent on a node, and waits for the first reconcile unless `waitReady` is false. */
  static async start(
    node: SimNode,
    options: AgentOptions = {},
    { waitReady = true, port = freePort() }: {
      readonly waitReady?: boolean;
      readonly port?: number;
    } = {},
  ): Promise<AgentProcess> {
    const config = join(node.dir, "agent.toml");
    Deno.writeTextFileSync(config, agentConfig(node, port, options), { mode: 0o600 });
    const [path = "", ...rest] = [...options.by ?? [], ...options.program ?? PROGRAM];
    const child = new Deno.Command(path, {
      args: [...rest, "run", "--config", config],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      clearEnv: true,
      env: { ...cleanEnv(), ...options.env },
    }).spawn();
    const agent = new AgentProcess(child, port, node);
    if (waitReady) {
      await agent.until("ready", async () => (await agent.get("/readyz")).status === 200);
    }
    return agent;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The base URL of its HTTP server. */
  get base(): string {
    return this.#base;
  }

  /** Its standard error so far. */
  get log(): string {
    return this.#log;
  }

  async get(path: string): Promise<{ readonly status: number; readonly body: string }> {
    try {
      const signal = AbortSignal.timeout(30_000);
      const response = await fetch(`${this.#base}${path}`, { signal });
      return { status: response.status, body: await response.text() };
    } catch {
      return { status: 0, body: "" };
    }
  }

  async status(): Promise<AgentStatus> {
    return withTimesInMs(JSON.parse((await this.get("/v1/status")).body));
  }

  /** {@linkcode until}, with the log in its error. */
  until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    return until(what, holds, () => this.#log);
  }

  signal(name: Deno.Signal): void {
    this.#child.kill(name);
  }

  async ended(): Promise<number> {
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has exited.
    }
    await this.#child.status;
    await this.#copied;
    if (containsSecret(this.#log, issuedTokens(this.#node))) {
      throw new Error("a token is in the log");
    }
  }

  async #copy(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#log += text;
    }
  }
}

/** Returns every token that the plugin has issued: every test also checks the log for secrets. */
function issuedTokens({ dir }: SimNode): readonly string[] {
  try {
    const lines = Deno.readTextFileSync(join(dir, "bin", "issued")).trimEnd().split("\n");
    return lines.map((line) => line.split(" ")[1] ?? "").filter((token) => token.length > 8);
  } catch {
    return [];
  }
}

function agentConfig(node: SimNode, port: number, options: AgentOptions): string {
  return [
    "[snapshotter]",
    `config = "${node.snapshotterConfigPath}"`,
    options.snapshotter ?? "",
    "[renewal]",
    options.renewal ?? 'check_interval = "500ms"\nrefresh_interval = "5s"',
    "[providers.docker]",
    `config = "${node.dockerConfigPath}"`,
    "[server]",
    `address = "127.0.0.1:${port}"`,
    "[api]",
    `socket = "${join(node.dir, "api.sock")}"`,
    options.api ?? "",
    "[log]",
    'level = "debug"',
    options.more ?? "",
    "",
  ].join("\n");
}

/** Waits in real time, because the tests run separate processes. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Reads through every mount until disposed, as containers do. */
export function keepReading(node: SimNode): AsyncDisposable & { readonly lastOk: () => boolean } {
  let isRunning = true;
  let lastOk = false;
  const done = (async () => {
    while (isRunning) {
      const reads = await node.readAll();
      lastOk = reads.length > 0 && reads.every(({ ok }) => ok);
      await pause(200);
    }
  })();
  return {
    lastOk: () => lastOk,
    async [Symbol.asyncDispose]() {
      isRunning = false;
      await done;
    },
  };
}
