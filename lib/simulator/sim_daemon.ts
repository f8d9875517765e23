import { dirname, join } from "@std/path";
import { defined, Secret } from "../model/mod.ts";
import type { Fault } from "./nydusd_http.ts";
import type { SimNydusdSpec, SimPut } from "./sim_nydusd.ts";
import type { SimMountSpec, SimRead } from "./sim_read.ts";
import { type ListedSimDaemon, requestUnix } from "./snapshotter.ts";

/** One image mounted in a daemon. */
export interface SimInstance {
  readonly snapshotId: string;
  readonly image: string;
  readonly mountId: string;
  readonly configPath: string;
  readonly mountpoint: string;
}

/** The source of a mount, if it is not the registry and the repository of the image. */
export interface SimBackend {
  readonly host?: string;
  readonly repo?: string;
  /** URLs of mirrors, which older versions of nydusd support. */
  readonly mirrors?: readonly string[];
  readonly proxyUrl?: string;
}

/** Options of a {@linkcode SimDaemon}. */
export interface SimDaemonOptions {
  readonly id: string;
  readonly mode: "dedicated" | "shared";
  readonly version: string;
  readonly pollMs: number;
  readonly root: string;
  readonly runDir: string;
  readonly selfCommand: readonly string[];
  /** Addresses of hosts that are not on loopback: name → host with port. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Digest of the blob that its mounts read; the simulated registries have any. */
  readonly blob?: string;
}

const ANY_BLOB = `sha256:${"0".repeat(64)}`;
const CONTROL_TIMEOUT_MS = 10_000;
const CONFIG_TIMEOUT_MS = 2_000;

/** A simulated nydusd as seen by the snapshotter: its process, sockets and mounts. */
export class SimDaemon {
  readonly id: string;
  readonly instances: SimInstance[] = [];
  #options: SimDaemonOptions;
  #process: Deno.ChildProcess | undefined;
  #failovers = 0;

  constructor(options: SimDaemonOptions) {
    this.#options = options;
    this.id = options.id;
  }

  /** `api.sock`, and `api1.sock` and so on after failovers, as the snapshotter names them. */
  get apiSocket(): string {
    const number = this.#failovers === 0 ? "" : String(this.#failovers);
    return join(this.#options.root, "socket", this.id, `api${number}.sock`);
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /**
   * Adds a mount, and writes its configuration file as the snapshotter does. Call
   * {@linkcode SimDaemon.mount} too if the process is already running.
   *
   * @param auth base64 of `user:password`; empty leaves the file without a credential.
   */
  addInstance(
    snapshotId: string,
    image: string,
    auth: string,
    backend: SimBackend = {},
  ): SimInstance {
    const { root, mode } = this.#options;
    const folder = join(root, "config", this.id);
    const shared = mode === "shared";
    const instance: SimInstance = {
      snapshotId,
      image,
      mountId: shared ? `/${snapshotId}` : "/",
      configPath: join(folder, ...(shared ? [snapshotId] : []), "config.json"),
      mountpoint: shared
        ? join(root, "mnt", snapshotId)
        : join(root, "snapshots", snapshotId, "mnt"),
    };
    Deno.mkdirSync(dirname(instance.configPath), { recursive: true });
    if (shared) writePrivate(join(folder, "config.json"), configText("", {}, ""));
    const [host = "", ...rest] = image.split("/");
    const repo = rest.join("/").replace(/[:@].*$/, "");
    const own = { host, repo };
    writePrivate(instance.configPath, configText(`/${snapshotId}`, { ...own, ...backend }, auth));
    this.instances.push(instance);
    return instance;
  }

  /**
   * Starts the process. Resolves when its sockets listen.
   *
   * @param options `isEmpty`: ignores the credentials of its configuration files.
   */
  async start({ isEmpty = false }: { readonly isEmpty?: boolean } = {}): Promise<void> {
    const { version, pollMs, runDir, selfCommand, hosts } = this.#options;
    Deno.mkdirSync(dirname(this.apiSocket), { recursive: true });
    const spec: SimNydusdSpec = {
      id: this.id,
      version,
      pollMs,
      apiSocket: this.apiSocket,
      controlSocket: this.#controlSocket,
      putsPath: this.#putsPath,
      mounts: this.instances.map((instance) => this.#mountSpec(instance)),
      ...defined({ hosts }),
      ...(isEmpty && { startsEmpty: true }),
    };
    const specPath = join(runDir, `${this.id}.json`);
    Deno.writeTextFileSync(specPath, JSON.stringify(spec));
    const [command = "", ...args] = selfCommand;
    const process = new Deno.Command(command, {
      args: [...args, "simnode-daemon", specPath],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#process = process;
    const reader = process.stdout.getReader();
    const { done } = await reader.read(); // it prints a line when it is ready
    if (done) {
      await this.kill();
      throw new Error(`failed to start the simulated nydusd ${this.id}: it exited`);
    }
    void drain(reader);
  }

  /** Mounts another image in the running process. */
  async mount(instance: SimInstance): Promise<void> {
    await this.#control("/mount", this.#mountSpec(instance));
  }

  /** Unmounts an image, and removes its configuration as the snapshotter does. */
  async unmount(snapshotId: string): Promise<void> {
    const i = this.instances.findIndex((instance) => instance.snapshotId === snapshotId);
    const instance = this.instances[i];
    if (instance === undefined) {
      throw new Error(`failed to unmount ${snapshotId}: ${this.id} does not have it`);
    }
    this.instances.splice(i, 1);
    await this.#control("/unmount", instance.mountId);
    await Deno.remove(instance.configPath);
  }

  /** Reads a blob through every mount, with the credential that it uses. */
  async readAll(): Promise<readonly SimRead[]> {
    return JSON.parse(await this.#control("/read", null));
  }

  /** Returns all credentials that were sent to its processes, in order. */
  puts(): readonly SimPut[] {
    try {
      const lines = Deno.readTextFileSync(this.#putsPath).trimEnd().split("\n");
      return lines.map((line) => JSON.parse(line));
    } catch {
      return []; // none was sent
    }
  }

  async setFault(fault: Fault): Promise<void> {
    await this.#control("/fault", fault);
  }

  /** Sends a signal to the process. */
  signal(name: Deno.Signal): void {
    if (this.#process !== undefined) Deno.kill(this.#process.pid, name);
  }

  /** Stops the process with SIGSTOP: its socket accepts connections but does not respond. */
  pause(): void {
    this.signal("SIGSTOP");
  }

  /** Continues a paused process. */
  resume(): void {
    this.signal("SIGCONT");
  }

  /** Starts a new process on the same socket. */
  async restart(options: { readonly isEmpty?: boolean } = {}): Promise<void> {
    await this.kill();
    await this.start(options);
  }

  /** Starts a new process that takes over the mounts, on the next socket. */
  async failOver(): Promise<void> {
    const before = this.apiSocket;
    await this.kill();
    this.#failovers++;
    await this.start();
    await Deno.remove(before);
  }

  /**
   * Simulates a live upgrade (`PUT /api/v1/daemons/upgrade`): the new process listens on the next
   * socket before the old one exits, whose socket file stays for a while.
   *
   * @param version Version of the new process. Default: the current one.
   */
  async upgrade(version?: string): Promise<void> {
    const old = this.#process;
    const before = this.apiSocket;
    this.#process = undefined;
    this.#failovers++;
    if (version !== undefined) this.#options = { ...this.#options, version };
    await this.start();
    await endProcess(old);
    await Deno.remove(before);
  }

  /** Kills the process, which leaves its socket file like a crash. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    await endProcess(process);
  }

  /** Returns the credential of a mount as `user:password`, or undefined without a response. */
  async currentAuth(mountId: string): Promise<string | undefined> {
    try {
      const config = JSON.parse(
        await requestUnix({
          socketPath: this.apiSocket,
          method: "GET",
          path: "/api/v1/config",
          timeoutMs: CONFIG_TIMEOUT_MS,
        }),
      );
      const auth: string | undefined = config[`${mountId}:registry_auth`];
      return auth === undefined ? "" : new TextDecoder().decode(Uint8Array.fromBase64(auth));
    } catch {
      return undefined;
    }
  }

  /** Returns the response of the snapshotter's backend call, with the unmasked credential. */
  backend(): unknown {
    const path = this.instances[0]?.configPath;
    return path && JSON.parse(Deno.readTextFileSync(path)).device.backend;
  }

  listed(): ListedSimDaemon {
    const { root } = this.#options;
    return {
      id: this.id,
      pid: this.pid,
      apiSocket: this.apiSocket,
      instances: this.instances.map(({ snapshotId, image, mountpoint }) => ({
        snapshotId,
        image,
        mountpoint,
        snapshotDir: join(root, "snapshots", snapshotId),
      })),
    };
  }

  get #putsPath(): string {
    return join(this.#options.runDir, `${this.id}.puts`);
  }

  #mountSpec({ mountId, snapshotId, configPath }: SimInstance): SimMountSpec {
    return { mountId, snapshotId, configPath, blob: this.#options.blob ?? ANY_BLOB };
  }

  get #controlSocket(): string {
    return join(this.#options.runDir, `${this.id}.ctl`);
  }

  async #control(path: string, body: unknown): Promise<string> {
    return await requestUnix({
      socketPath: this.#controlSocket,
      method: "POST",
      path,
      body: new Secret(JSON.stringify(body)),
      timeoutMs: CONTROL_TIMEOUT_MS,
    });
  }
}

async function endProcess(process: Deno.ChildProcess | undefined): Promise<void> {
  if (process === undefined) return;
  try {
    Deno.kill(process.pid, "SIGKILL");
  } catch {
    // The process has exited.
  }
  await process.status;
  await process.stdin.close().catch(() => {});
}

async function drain(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  while (!(await reader.read()).done);
}

function writePrivate(path: string, text: string): void {
  Deno.writeTextFileSync(path, text, { mode: 0o600 });
}

/**
 * Returns a configuration file of the snapshotter, with fields that a rewrite must keep: with mirrors
 * that of nydus-snapshotter before 0.15.16, else that of later versions, which write a mirror as the
 * host.
 */
function configText(id: string, where: SimBackend, auth: string): string {
  const { host = "", repo = "", mirrors, proxyUrl } = where;
  const backend = {
    scheme: "http",
    host,
    repo,
    ...(mirrors && { mirrors: mirrors.map((url) => ({ host: url })) }),
    ...(proxyUrl !== undefined && { proxy: { url: proxyUrl, fallback: true } }),
    ...(auth !== "" && { auth }),
    timeout: 5,
    connect_timeout: 5,
    retry_limit: 0,
    a_field_of_tomorrow: { kept: true },
  };
  return JSON.stringify({
    device: {
      id,
      backend: { type: "registry", config: backend },
      cache: { type: "", config: { work_dir: "", disable_indexed_map: false } },
    },
    mode: "direct",
    digest_validate: false,
    amplify_io: 0,
    ...(mirrors === undefined && {
      fs_prefetch: { enable: true, prefetch_all: false, stream_prefetch: true },
      id_mapping: [0, 100_000, 65_536],
    }),
  });
}
