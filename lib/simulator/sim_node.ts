import { join } from "@std/path";
import { providerConfigText, snapshotterConfigText } from "./node_files.ts";
import { PLUGIN_SCRIPT, pluginSettingsText, type SimPluginSettings } from "./plugin.ts";
import { SimRegistry } from "./registry.ts";
import { type SimBackend, SimDaemon, type SimInstance } from "./sim_daemon.ts";
import type { SimRead } from "./sim_read.ts";
import { SimSnapshotter } from "./snapshotter.ts";

/** How a simulated node is made. */
export interface SimNodeOptions {
  /** The command that runs one nydusd of it, up to the word `simnode-daemon`. */
  readonly selfCommand: readonly string[];
  readonly plugin?: Partial<SimPluginSettings>;
  /** How often its nydusd look for a new credential; the real ones every 5 s. */
  readonly pollMs?: number;
  /** Where hosts are that its nydusd know by other names: name → host with port. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** The digest of what its mounts read; the simulated registries have any. */
  readonly blob?: string;
}

/** A daemon to add. */
export interface NewDaemon {
  readonly id: string;
  readonly mode: "dedicated" | "shared";
  readonly images: readonly string[];
  readonly version?: string;
  /** What its mounts hold at first, `user:password`; default: what the source of each gives. */
  readonly pair?: string;
  /** Where its mounts read from; default: each from its image's own registry. */
  readonly backend?: SimBackend;
}

/** A read through one mount, and when it was done. */
export interface NodeRead extends SimRead {
  readonly daemonId: string;
  readonly image: string;
}

const PLUGIN = "sim-credential-provider";

/**
 * A container node in one process tree, over real unix sockets and real child processes: the
 * snapshotter's system API and root folder, several nydusd, two registries on loopback (one whose
 * tokens a kubelet plugin issues, one whose password stands in a docker configuration).
 */
export class SimNode implements AsyncDisposable {
  readonly dir: string;
  readonly daemons = new Map<string, SimDaemon>();
  /** Its tokens come from the plugin, as user `token`. */
  readonly tokenRegistry: SimRegistry;
  /** Its password stands in the docker configuration, for user `robot`. */
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

  /** Lays out the node and starts what it consists of, without any daemon yet. */
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

  /** The snapshotter's template of a daemon's configuration; not there at first. */
  get daemonTemplatePath(): string {
    return join(this.dir, "nydusd-config.json");
  }

  /** The folder of the kubelet's plugins. */
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

  /** Changes how the plugin behaves from its next execution on. */
  setPlugin(change: Partial<SimPluginSettings>): void {
    this.#plugin = { ...this.#plugin, ...change };
    const path = join(this.dir, "bin", "settings");
    Deno.writeTextFileSync(`${path}.new`, pluginSettingsText(this.#plugin));
    Deno.renameSync(`${path}.new`, path);
  }

  /** How often the plugin was executed, by whomever. */
  pluginExecutions(): number {
    return this.pluginImages().length;
  }

  /** The image of each execution, in order; `-` for those of {@linkcode SimNode.pull}. */
  pluginImages(): readonly string[] {
    try {
      return Deno.readTextFileSync(join(this.dir, "bin", "executions")).trimEnd().split("\n");
    } catch {
      return [];
    }
  }

  /**
   * Replaces the password in the docker configuration. The registry accepts the old one for
   * `overlapMs` more, as a careful rotation has it.
   */
  rotatePassword(password: string, overlapMs = Infinity): void {
    if (this.#password !== "" && overlapMs !== Infinity) {
      this.passwordRegistry.accept("robot", this.#password, Date.now() + overlapMs);
    }
    this.#password = password;
    this.passwordRegistry.accept("robot", password);
    this.setDockerAuth(this.passwordRegistry.host, `robot:${password}`);
  }

  /** Sets the entry of one key in the docker configuration, `user:password`. */
  setDockerAuth(key: string, pair: string): void {
    this.#dockerAuths.set(key, btoa(pair));
    const auths = Object.fromEntries(
      [...this.#dockerAuths].map(([host, auth]) => [host, { auth }]),
    );
    const path = this.dockerConfigPath;
    Deno.writeTextFileSync(`${path}.new`, JSON.stringify({ auths }), { mode: 0o600 });
    Deno.renameSync(`${path}.new`, path);
  }

  /** Names the mirrors of a registry (or of `_default`) in the snapshotter's mirrors folder. */
  setMirrors(registry: string, urls: readonly string[]): void {
    const folder = join(this.mirrorsDir, registry.replace(/:(\d+)$/, "_$1_"));
    Deno.mkdirSync(folder, { recursive: true });
    const tables = urls.map((url) => `[host."${url}"]\ncapabilities = ["pull"]\n`);
    Deno.writeTextFileSync(join(folder, "hosts.toml"), tables.join(""));
  }

  /** The credential that a mount of this image should hold by now, as `user:password`. */
  newestPair(image: string): string {
    return image.startsWith(this.tokenRegistry.host)
      ? this.tokenRegistry.newestToken(image) ?? ""
      : `robot:${this.#password}`;
  }

  /** Starts a daemon with its mounts, which begin with a credential as a pull would give it. */
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
      ...(hosts && { hosts }),
      ...(blob !== undefined && { blob }),
    });
    for (const image of images) {
      const auth = btoa(pair ?? await this.pull(image));
      daemon.addInstance(String(++this.#snapshots), image, auth, backend);
    }
    await daemon.start();
    this.daemons.set(id, daemon);
    return daemon;
  }

  /** Ends a daemon and takes it off the node, sockets and configuration included. */
  async removeDaemon(daemon: SimDaemon): Promise<void> {
    this.daemons.delete(daemon.id);
    await daemon.kill();
    for (const folder of ["socket", "config"]) {
      await Deno.remove(join(this.root, folder, daemon.id), { recursive: true });
    }
  }

  /** Mounts one more image in a shared daemon that runs. */
  async addInstance(daemon: SimDaemon, image: string): Promise<SimInstance> {
    const auth = btoa(await this.pull(image));
    const instance = daemon.addInstance(String(++this.#snapshots), image, auth);
    await daemon.mount(instance);
    return instance;
  }

  /** A credential as the snapshotter gets it when an image is pulled. */
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

  /** Reads through every mount of every daemon. A daemon that does not answer has no reads. */
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

  /** Whether every mount holds the newest credential of its image. */
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
