import { join } from "@std/path";
import { LIMITED } from "../e2e/attacks.ts";
import { echoOn } from "../e2e/cri_proxy_stage.ts";
import { type AgentOptions, AgentProcess, command, pause, simNode } from "../e2e/stage.ts";
import type { SimDaemon, SimNode, SimPluginSettings } from "../../lib/simulator/mod.ts";
import { CanaryDetector, newTokenCanary } from "../canary/detector.ts";
import { ConfigFiles, Reader } from "./watchers.ts";

/** How long the plugin's tokens live; a fault of the source that lasts longer spoils reads. */
export const TOKEN_LIFETIME_MS = 30_000;

/** Debian's `libfaketime`: another wall clock for one process, to be stepped while it runs. */
const FAKE_CLOCK = `/usr/lib/${Deno.build.arch}-linux-gnu/faketime/libfaketimeMT.so.1`;

const PLUGIN = {
  cacheDuration: "3s",
  cacheKeyType: "Registry",
  lifetimeMs: TOKEN_LIFETIME_MS,
  shape: "opaque",
} as const;

/** How a stage is set up. */
export interface StageOptions {
  /** How the plugin behaves while nothing is broken. */
  readonly plugin?: Partial<SimPluginSettings>;
  /** Whether the agent's clock can be stepped. */
  readonly stepsClock?: boolean;
  /** Decides what is left to chance. */
  readonly random?: () => number;
  /** The agent's `refresh_interval`. */
  readonly refreshInterval?: string;
  readonly readEveryMs?: number;
  /** The agent's program and environment, in the place of the real one's. */
  readonly agent?: Pick<AgentOptions, "program" | "env">;
  /** What the mounts of the plugin's images read from, in the place of the simulated registry. */
  readonly backend?: {
    readonly hosts: Readonly<Record<string, string>>;
    readonly blob: string;
    open(node: SimNode): Promise<void>;
  };
}

/** Whether the clock of an agent can be stepped here. */
export async function canStepClock(): Promise<boolean> {
  return await Deno.stat(FAKE_CLOCK).then(() => true, () => false);
}

/** A node with an agent, readers that never stop, and what the faults need of them. */
export class FaultStage implements AsyncDisposable {
  readonly node: SimNode;
  readonly reader: Reader;
  readonly files: ConfigFiles;
  /** Whether the daemons' configuration files are on a small tmpfs of their own. */
  readonly isSmallDisk: boolean;
  readonly random: () => number;
  /** How long the agent took until it was ready. */
  startMs = 0;
  /** Finds any secret of the node. */
  readonly detector: CanaryDetector;
  readonly #passwordMark = newTokenCanary();
  readonly #options: StageOptions;
  readonly #runtime: Deno.UnixListener;
  #agent: AgentProcess | undefined;
  /** What agents that are gone wrote and nobody has looked at, and how much of this one's log was. */
  #unread = "";
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
    // Its plugin is part of the world, whose clock is right.
    const providers = await Deno.readTextFile(node.providerConfigPath);
    const env = '  env: [{name: LD_PRELOAD, value: ""}]\n';
    await Deno.writeTextFile(node.providerConfigPath, providers + env);
    // The same image is mounted in the shared daemon, too.
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

  /** What agents wrote since the last call. */
  takeLog(): string {
    const text = this.#unread + this.agent.log.slice(this.#read);
    this.#read = this.agent.log.length;
    this.#unread = "";
    return text;
  }

  /** The agent's wall clock: so many seconds from the right one, from now on. */
  async stepClock(seconds: number): Promise<void> {
    const sign = seconds < 0 ? "-" : "+";
    await Deno.writeTextFile(this.#clockPath, `${sign}${Math.abs(seconds)}\n`);
  }

  daemon(id: string): SimDaemon {
    const daemon = this.node.daemons.get(id);
    if (daemon === undefined) throw new Error(`there is no daemon ${id}`);
    return daemon;
  }

  /** Tokens that were issued, and have ended since a moment. */
  async expiries(fromMs: number): Promise<number> {
    const text = await Deno.readTextFile(join(this.node.pluginDir, "issued")).catch(() => "");
    const ends = text.split("\n").filter((line) => line !== "").map((line) =>
      Number(line.split(" ")[0])
    );
    return ends.filter((endMs) => endMs >= fromMs && endMs < Date.now()).length;
  }

  /** Has the agent ask every source, past what they said of caches. */
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
   * Kills the agent, and starts it anew as systemd would.
   *
   * @param killedAfterMs Kill that one, too, so long after its start; else it is ready when this
   * resolves.
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

  /** Has the plugin behave as it did when nothing was broken. */
  mendPlugin(): void {
    const plugin: Partial<SimPluginSettings> = { ...PLUGIN, ...this.#options.plugin };
    const { lifetimeMs = TOKEN_LIFETIME_MS } = plugin;
    this.node.setPlugin({ mode: "issue", reportedLifetimeMs: lifetimeMs, ...plugin });
  }

  /** Another password; the registry takes the old one for a while, as a careful rotation has it. */
  rotatePassword(): void {
    this.node.rotatePassword(`${this.#passwordMark}-${crypto.randomUUID()}`, 15_000);
  }

  /** Where CRI clients connect. */
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

/** Only root may: without it the faults of the disk are left out. */
async function mountSmall(path: string): Promise<boolean> {
  return await run("mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=96", "none", path) === 0;
}

/** The exit code of a program that ends by itself. */
export async function run(name: string, ...args: readonly string[]): Promise<number> {
  const command = new Deno.Command(name, { args: [...args], stdout: "null", stderr: "null" });
  return (await command.output()).code;
}
