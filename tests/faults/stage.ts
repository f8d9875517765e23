import { join } from "@std/path";
import { LIMITED } from "../e2e/attacks.ts";
import { echoOn } from "../e2e/cri_proxy_stage.ts";
import { type AgentOptions, AgentProcess, command, pause, simNode } from "../e2e/stage.ts";
import type { SimDaemon, SimNode, SimPluginSettings } from "../../lib/simulator/mod.ts";
import { CanaryDetector, newTokenCanary } from "../canary/detector.ts";
import { ConfigFiles, Reader } from "./watchers.ts";

/** Lifetime of the plugin's tokens; a longer fault of the token service fails reads. */
export const TOKEN_LIFETIME_MS = 30_000;

/** Debian's `libfaketime`: a wall clock for one process that can be stepped while it runs. */
const FAKE_CLOCK = `/usr/lib/${Deno.build.arch}-linux-gnu/faketime/libfaketimeMT.so.1`;

const PLUGIN = {
  cacheDuration: "3s",
  cacheKeyType: "Registry",
  lifetimeMs: TOKEN_LIFETIME_MS,
  shape: "opaque",
} as const;

/** Options of a stage. */
export interface StageOptions {
  /** Settings of the plugin while there is no fault. */
  readonly plugin?: Partial<SimPluginSettings>;
  /** Whether the agent's clock can be stepped. */
  readonly stepsClock?: boolean;
  /** Source of randomness. */
  readonly random?: () => number;
  /** The agent's `refresh_interval`. */
  readonly refreshInterval?: string;
  readonly readEveryMs?: number;
  /** Replaces the agent's program and environment. */
  readonly agent?: Pick<AgentOptions, "program" | "env">;
  /** Replaces the simulated registry for mounts of the plugin's images. */
  readonly backend?: {
    readonly hosts: Readonly<Record<string, string>>;
    readonly blob: string;
    open(node: SimNode): Promise<void>;
  };
}

/** Returns whether the agent's clock can be stepped on this machine. */
export async function canStepClock(): Promise<boolean> {
  return await Deno.stat(FAKE_CLOCK).then(() => true, () => false);
}

/** A node with an agent and continuous readers, with the operations that faults need. */
export class FaultStage implements AsyncDisposable {
  readonly node: SimNode;
  readonly reader: Reader;
  readonly files: ConfigFiles;
  /** Whether the daemons' configuration files are on a small separate tmpfs. */
  readonly isSmallDisk: boolean;
  readonly random: () => number;
  /** Time from the agent's start to its readiness. */
  startMs = 0;
  /** Finds the node's secrets in texts. */
  readonly detector: CanaryDetector;
  readonly #passwordMark = newTokenCanary();
  readonly #options: StageOptions;
  readonly #runtime: Deno.UnixListener;
  #agent: AgentProcess | undefined;
  /** Unread log output of earlier agents. */
  #unread = "";
  /** Number of characters of the current agent's log that were read. */
  #read = 0;

  private constructor(node: SimNode, tokenMark: string, options: StageOptions, isSmall: boolean) {
    this.node = node;
    this.isSmallDisk = isSmall;
    this.random = options.random ?? Math.random;
    this.#options = options;
    this.detector = new CanaryDetector({ password: this.#passwordMark, token: tokenMark });
    this.reader = new Reader(node, options.readEveryMs);
    this.files = new ConfigFiles(node);
    this.#runtime = echoOn(join(node.dir, "containerd.sock"));
  }

  static async start(options: StageOptions = {}): Promise<FaultStage> {
    const tokenMark = newTokenCanary();
    const plugin = options.plugin ?? PLUGIN;
    const { hosts, blob } = options.backend ?? {};
    const node = simNode({
      plugin: { ...plugin, mark: tokenMark },
      ...(hosts && { hosts }),
      ...(blob !== undefined && { blob }),
    });
    await options.backend?.open(node);
    const isSmallDisk = await mountSmall(join(node.root, "config"));
    const token = node.tokenRegistry.host;
    const password = node.passwordRegistry.host;
    // The plugin uses the real clock.
    const providers = await Deno.readTextFile(node.providerConfigPath);
    const env = '  env: [{name: LD_PRELOAD, value: ""}]\n';
    await Deno.writeTextFile(node.providerConfigPath, providers + env);
    // The shared daemon mounts the same image.
    await node.addDaemon({ id: "d1", mode: "dedicated", images: [`${token}/shop/app:1`] });
    await node.addDaemon({
      id: "s1",
      mode: "shared",
      images: [`${token}/a:1`, `${token}/b:1`, `${password}/c:1`, `${token}/shop/app:1`],
    });
    const old = [`${password}/d:1`];
    await node.addDaemon({ id: "d2", mode: "dedicated", images: old, version: "2.4.1" });
    const stage = new FaultStage(node, tokenMark, options, isSmallDisk);
    stage.rotatePassword();
    if (options.stepsClock) await stage.stepClock(0);
    await stage.restartAgent();
    await stage.agent.until("the newest credential in every mount", () => node.allNewest());
    return stage;
  }

  get agent(): AgentProcess {
    if (this.#agent === undefined) throw new Error("there is no agent");
    return this.#agent;
  }

  /** Returns the agents' log output since the last call. */
  takeLog(): string {
    const text = this.#unread + this.agent.log.slice(this.#read);
    this.#read = this.agent.log.length;
    this.#unread = "";
    return text;
  }

  /** Sets the offset of the agent's wall clock to the real one. */
  async stepClock(seconds: number): Promise<void> {
    const sign = seconds < 0 ? "-" : "+";
    await Deno.writeTextFile(this.#clockPath, `${sign}${Math.abs(seconds)}\n`);
  }

  daemon(id: string): SimDaemon {
    const daemon = this.node.daemons.get(id);
    if (daemon === undefined) throw new Error(`there is no daemon ${id}`);
    return daemon;
  }

  /** Counts the issued tokens that expired since a given time. */
  async expiries(fromMs: number): Promise<number> {
    const text = await Deno.readTextFile(join(this.node.pluginDir, "issued")).catch(() => "");
    const ends = text.split("\n").filter((line) => line !== "").map((line) =>
      Number(line.split(" ")[0])
    );
    return ends.filter((endMs) => endMs >= fromMs && endMs < Date.now()).length;
  }

  /** Makes the agent query every provider, bypassing caches. */
  async renewAll(): Promise<void> {
    const { code, err } = await command([
      "renew",
      "--all",
      "--config",
      join(this.node.dir, "agent.toml"),
    ]);
    if (code !== 0) throw new Error(`renew --all: ${err}`);
  }

  /**
   * Kills the agent and starts it again, as systemd would.
   *
   * @param killedAfterMs Time from the start until the new agent is killed too. Without it, the
   * agent is ready when this resolves.
   */
  async restartAgent({ killedAfterMs }: { readonly killedAfterMs?: number } = {}): Promise<void> {
    if (this.#agent !== undefined) {
      await this.#agent[Symbol.asyncDispose]();
      this.#unread = this.takeLog();
      this.#read = 0;
    }
    const startedMs = performance.now();
    const waitReady = killedAfterMs === undefined;
    const agent = await AgentProcess.start(this.node, this.#agentOptions(), { waitReady });
    this.#agent = agent;
    if (waitReady) this.startMs = performance.now() - startedMs;
    else await pause(killedAfterMs);
  }

  /** Restores the plugin's settings. */
  restorePlugin(): void {
    const plugin: Partial<SimPluginSettings> = { ...PLUGIN, ...this.#options.plugin };
    const { lifetimeMs = TOKEN_LIFETIME_MS } = plugin;
    this.node.setPlugin({ mode: "issue", reportedLifetimeMs: lifetimeMs, ...plugin });
  }

  /** Rotates the password; the registry accepts the previous one for a grace period. */
  rotatePassword(): void {
    this.node.rotatePassword(`${this.#passwordMark}-${crypto.randomUUID()}`, 15_000);
  }

  /** Socket path for CRI clients. */
  get criPath(): string {
    return join(this.node.dir, "image.sock");
  }

  get #clockPath(): string {
    return join(this.node.dir, "clock");
  }

  #agentOptions(): AgentOptions {
    const { refreshInterval = "2s", stepsClock, agent } = this.#options;
    const { dir } = this.node;
    return {
      ...agent,
      by: LIMITED,
      renewal: `check_interval = "500ms"\nrefresh_interval = "${refreshInterval}"`,
      more: [
        ...["[providers.kubelet]", 'timeout = "4s"', "[providers.cri]", "enabled = true"],
        `socket = "${join(dir, "cri.sock")}"`,
        `link = "${this.criPath}"`,
        `image_service = "${join(dir, "containerd.sock")}"`,
      ].join("\n"),
      ...(stepsClock && {
        env: {
          LD_PRELOAD: FAKE_CLOCK,
          FAKETIME_TIMESTAMP_FILE: this.#clockPath,
          FAKETIME_CACHE_DURATION: "1",
          FAKETIME_DONT_FAKE_MONOTONIC: "1",
        },
      }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.reader[Symbol.asyncDispose]();
    await this.files[Symbol.asyncDispose]();
    await this.#agent?.[Symbol.asyncDispose]();
    this.#runtime.close();
    if (this.isSmallDisk) await run("umount", "-l", join(this.node.root, "config"));
    await this.node[Symbol.asyncDispose]();
  }
}

/** Mounts a small tmpfs. Only root can: otherwise the disk faults are ignored. */
async function mountSmall(path: string): Promise<boolean> {
  return await run("mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=96", "none", path) === 0;
}

/** Runs a program to completion; returns its exit code. */
export async function run(name: string, ...args: readonly string[]): Promise<number> {
  const command = new Deno.Command(name, { args: [...args], stdout: "null", stderr: "null" });
  return (await command.output()).code;
}
