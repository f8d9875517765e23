import { join } from "@std/path";
import { defined } from "../model/mod.ts";
import {
  PLUGIN_SCRIPT,
  pluginSettingsText,
  providerConfigText,
  type SimPluginSettings,
  snapshotterConfigText,
} from "./node_files.ts";
import { SimRegistry } from "./registry.ts";
import { type SimBackend, SimDaemon, type SimInstance } from "./sim_daemon.ts";
import type { SimRead } from "./sim_read.ts";
import { SimSnapshotter } from "./snapshotter.ts";

/** Options of a {@linkcode SimNode}. */
export interface SimNodeOptions {
  /** The command that runs one nydusd, before the argument `simnode-daemon`. */
  readonly selfCommand: readonly string[];
  readonly plugin?: Partial<SimPluginSettings>;
  /** Interval at which its daemons poll for a new credential; 5 s in real ones. */
  readonly pollMs?: number;
  /** Addresses of hosts that are not on loopback: name → host with port. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Digest of the blob that its mounts read; the simulated registries have any. */
  readonly blob?: string;
}

/** Options of {@linkcode SimNode.addDaemon}. */
export interface NewDaemon {
  readonly id: string;
  readonly mode: "dedicated" | "shared";
  readonly images: readonly string[];
  readonly version?: string;
  /** Initial credential of its mounts, `user:password`. Default: the one of the image's source. */
  readonly pair?: string;
  /** The source of its mounts. Default: the registry of each image. */
  readonly backend?: SimBackend;
}

/** A read through one mount of a node. */
export interface NodeRead extends SimRead {
  readonly daemonId: string;
  readonly image: string;
}

const PLUGIN = "sim-credential-provider";

/**
 * A simulated container node with real unix sockets and child processes: the snapshotter's system API
 * and root folder, several nydusd processes, and two registries on loopback, one with tokens of a
 * kubelet plugin and one with a password in a docker configuration.
 */
export class SimNode implements AsyncDisposable {
  readonly dir: string;
  readonly daemons = new Map<string, SimDaemon>();
  /** Accepts the tokens of the plugin for user `token`. */
  readonly tokenRegistry: SimRegistry;
  /** Accepts the password in the docker configuration for user `robot`. */
  readonly passwordRegistry = new SimRegistry();
  readonly #options: SimNodeOptions;
  #snapshotter: SimSnapshotter | undefined;
  #plugin: SimPluginSettings;
  #password = "";
  readonly #dockerAuths = new Map<string, string>();
  #snapshots = 0;

  private constructor(dir: string, options: SimNodeOptions) {
    this.dir = dir;
    this.#options = options;
    for (const folder of ["root/socket", "root/config", "run", "docker", "bin", "certs.d"]) {
      Deno.mkdirSync(join(dir, folder), { recursive: true });
    }
    this.tokenRegistry = new SimRegistry(join(dir, "bin", "issued"));
    this.#plugin = {
      mode: "issue",
      lifetimeMs: 60_000,
      cacheDuration: "30s",
      cacheKeyType: "Registry",
      shape: "opaque",
      pattern: this.tokenRegistry.host,
      ...options.plugin,
    };
  }

  /** Creates the files of a node and starts its services, without daemons. */
  static start(options: SimNodeOptions): SimNode {
    const node = new SimNode(Deno.makeTempDirSync({ prefix: "nydus-sim-" }), options);
    Deno.writeTextFileSync(join(node.dir, "bin", PLUGIN), PLUGIN_SCRIPT, { mode: 0o755 });
    const providers = providerConfigText(PLUGIN, node.tokenRegistry.host);
    Deno.writeTextFileSync(node.providerConfigPath, providers);
    Deno.writeTextFileSync(node.snapshotterConfigPath, snapshotterConfigText(node));
    node.setPlugin({});
    node.rotatePassword("first");
    node.startSnapshotter();
    return node;
  }

  get root(): string {
    return join(this.dir, "root");
  }

  get snapshotterConfigPath(): string {
    return join(this.dir, "snapshotter.toml");
  }

  get providerConfigPath(): string {
    return join(this.dir, "providers.yaml");
  }

  get dockerConfigPath(): string {
    return join(this.dir, "docker", "config.json");
  }

  get mirrorsDir(): string {
    return join(this.dir, "certs.d");
  }

  /** The snapshotter's template of daemon configurations; does not exist initially. */
  get daemonTemplatePath(): string {
    return join(this.dir, "nydusd-config.json");
  }

  /** The folder of kubelet plugins. */
  get pluginDir(): string {
    return join(this.dir, "bin");
  }

  get systemSocket(): string {
    return join(this.dir, "run", "system.sock");
  }

  /** The running system API; undefined while the snapshotter is stopped. */
  get snapshotter(): SimSnapshotter | undefined {
    return this.#snapshotter;
  }

  startSnapshotter(): void {
    const list = () => [...this.daemons.values()].map((daemon) => daemon.listed());
    const backend = (id: string) => this.daemons.get(id)?.backend();
    this.#snapshotter = new SimSnapshotter(this.systemSocket, list, backend);
  }

  async stopSnapshotter(): Promise<void> {
    await this.#snapshotter?.[Symbol.asyncDispose]();
    this.#snapshotter = undefined;
  }

  /** Changes the behavior of the plugin from its next execution on. */
  setPlugin(change: Partial<SimPluginSettings>): void {
    this.#plugin = { ...this.#plugin, ...change };
    const path = join(this.dir, "bin", "settings");
    Deno.writeTextFileSync(`${path}.new`, pluginSettingsText(this.#plugin));
    Deno.renameSync(`${path}.new`, path);
  }

  /** Number of plugin executions, also by {@linkcode SimNode.pull}. */
  pluginExecutions(): number {
    return this.pluginImages().length;
  }

  /** Images of the plugin executions, in order; `-` for {@linkcode SimNode.pull}. */
  pluginImages(): readonly string[] {
    try {
      return Deno.readTextFileSync(join(this.dir, "bin", "executions")).trimEnd().split("\n");
    } catch {
      return [];
    }
  }

  /**
   * Replaces the password in the docker configuration. The registry accepts the old one for another
   * `overlapMs`.
   */
  rotatePassword(password: string, overlapMs = Infinity): void {
    if (this.#password !== "" && overlapMs !== Infinity) {
      this.passwordRegistry.accept("robot", this.#password, Date.now() + overlapMs);
    }
    this.#password = password;
    this.passwordRegistry.accept("robot", password);
    this.setDockerAuth(this.passwordRegistry.host, `robot:${password}`);
  }

  /** Sets an entry of the docker configuration, `user:password`. */
  setDockerAuth(key: string, pair: string): void {
    this.#dockerAuths.set(key, btoa(pair));
    const auths = Object.fromEntries(
      [...this.#dockerAuths].map(([host, auth]) => [host, { auth }]),
    );
    const path = this.dockerConfigPath;
    Deno.writeTextFileSync(`${path}.new`, JSON.stringify({ auths }), { mode: 0o600 });
    Deno.renameSync(`${path}.new`, path);
  }

  /** Configures the mirrors of a registry (or `_default`) in the snapshotter's mirrors folder. */
  setMirrors(registry: string, urls: readonly string[]): void {
    const folder = join(this.mirrorsDir, registry.replace(/:(\d+)$/, "_$1_"));
    Deno.mkdirSync(folder, { recursive: true });
    const tables = urls.map((url) => `[host."${url}"]\ncapabilities = ["pull"]\n`);
    Deno.writeTextFileSync(join(folder, "hosts.toml"), tables.join(""));
  }

  /** Returns the newest credential for an image, as `user:password`. */
  newestPair(image: string): string {
    return image.startsWith(this.tokenRegistry.host)
      ? this.tokenRegistry.newestToken(image) ?? ""
      : `robot:${this.#password}`;
  }

  /** Starts a daemon with its mounts, which have the credential of a pull. */
  async addDaemon(
    { id, mode, images, version = "2.4.4", pair, backend }: NewDaemon,
  ): Promise<SimDaemon> {
    const { hosts, blob } = this.#options;
    const daemon = new SimDaemon({
      id,
      mode,
      version,
      pollMs: this.#options.pollMs ?? 5_000,
      root: this.root,
      runDir: join(this.dir, "run"),
      selfCommand: this.#options.selfCommand,
      ...defined({ hosts, blob }),
    });
    for (const image of images) {
      const auth = btoa(pair ?? await this.pull(image));
      daemon.addInstance(String(++this.#snapshots), image, auth, backend);
    }
    await daemon.start();
    this.daemons.set(id, daemon);
    return daemon;
  }

  /** Kills a daemon and removes its sockets and configuration. */
  async removeDaemon(daemon: SimDaemon): Promise<void> {
    this.daemons.delete(daemon.id);
    await daemon.kill();
    for (const folder of ["socket", "config"]) {
      await Deno.remove(join(this.root, folder, daemon.id), { recursive: true });
    }
  }

  /** Mounts another image in a running shared daemon. */
  async addInstance(daemon: SimDaemon, image: string): Promise<SimInstance> {
    const auth = btoa(await this.pull(image));
    const instance = daemon.addInstance(String(++this.#snapshots), image, auth);
    await daemon.mount(instance);
    return instance;
  }

  /** Returns the credential that the snapshotter gets when an image is pulled. */
  async pull(image: string): Promise<string> {
    if (!image.startsWith(this.tokenRegistry.host)) return this.newestPair(image);
    const { mode, pattern } = this.#plugin;
    this.setPlugin({ mode: "issue" });
    const command = new Deno.Command(join(this.dir, "bin", PLUGIN), { stdin: "null" });
    const { stdout } = await command.output();
    this.setPlugin({ mode });
    const { username, password } = JSON.parse(new TextDecoder().decode(stdout)).auth[pattern];
    return `${username}:${password}`;
  }

  /** Reads through every mount of every daemon. Unresponsive daemons have no reads. */
  async readAll(): Promise<readonly NodeRead[]> {
    const daemons = [...this.daemons.values()];
    const reads = await Promise.all(daemons.map(async (daemon) => {
      const results = await daemon.readAll().catch(() => []);
      return results.map((read) => ({
        ...read,
        daemonId: daemon.id,
        image: daemon.instances.find((i) => i.snapshotId === read.snapshotId)?.image ?? "",
      }));
    }));
    return reads.flat();
  }

  /** Whether every mount has the newest credential of its image. */
  async allNewest(): Promise<boolean> {
    for (const daemon of this.daemons.values()) {
      for (const { mountId, image } of daemon.instances) {
        if (await daemon.currentAuth(mountId) !== this.newestPair(image)) return false;
      }
    }
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.daemons.values()].map((daemon) => daemon.kill()));
    await this.stopSnapshotter();
    await this.tokenRegistry[Symbol.asyncDispose]();
    await this.passwordRegistry[Symbol.asyncDispose]();
    await Deno.remove(this.dir, { recursive: true }).catch(() => {});
  }
}
