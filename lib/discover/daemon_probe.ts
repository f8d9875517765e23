import { join } from "@std/path";
import {
  type CallOptions,
  type Daemon,
  type DaemonState,
  endpointOf,
  type FileStat,
  type FileSystem,
  messageOf,
  type NydusdApi,
  type NydusdInfo,
  type PeerResult,
  type RafsInstance,
  type RegistryBackend,
  type Secret,
} from "../model/mod.ts";
import type { BackendFiles } from "./backend_files.ts";
import type { ListedDaemon, ListedInstance } from "./listed.ts";
import type { NamedHosts } from "./named_hosts.ts";

/** What a probe remembers of a daemon, so that a steady one costs one request a look. */
interface Known {
  readonly info: NydusdInfo;
  readonly sign: string;
  readonly looks: number;
}

/** What a probe needs. */
export interface DaemonProbeOptions {
  readonly nydusdApi: NydusdApi;
  readonly files: FileSystem;
  /** The snapshotter's root folder, for the paths of configuration files. */
  readonly root: string;
  readonly sharedByDefault: boolean;
  readonly namedHosts: NamedHosts;
  /** What the configuration files of daemons that do not answer tell. */
  readonly backendFiles: BackendFiles;
}

/** Every so many looks a daemon is asked for its mounts although nothing seems to have changed. */
const INFO_EVERY = 10;

/** Asks one nydusd after another how it is; each costs its own deadline, and nobody else's. */
export class DaemonProbe {
  readonly #options: DaemonProbeOptions;
  readonly #known = new Map<string, Known>();

  constructor(options: DaemonProbeOptions) {
    this.#options = options;
  }

  /** Forgets the daemons that no source names any more. */
  keepOnly(sockets: ReadonlySet<string>): void {
    for (const socket of this.#known.keys()) if (!sockets.has(socket)) this.#known.delete(socket);
  }

  async look(listed: ListedDaemon, options: CallOptions): Promise<Daemon> {
    const { nydusdApi, files } = this.#options;
    const { apiSocket } = listed;
    const known = this.#known.get(apiSocket);
    let stat: FileStat | undefined;
    try {
      stat = await files.stat(apiSocket);
    } catch (error) {
      // A folder that we may not enter, for one: "there is no socket" would lead people astray.
      return await this.#down(listed, known, { kind: "broken", detail: messageOf(error) });
    }
    if (stat === undefined) return await this.#down(listed, known, { kind: "no-socket" });
    const held = await nydusdApi.heldAuths(apiSocket, options);
    const unsupported = held.kind === "refused" && held.status === 404;
    if (held.kind !== "ok" && !unsupported) return await this.#down(listed, known, held);
    const sign = [listed.pid ?? "", stat.stamp, ...listed.instances.map((i) => i.snapshotId).sort()]
      .join("\0");
    let { info, looks } = known ?? { info: undefined, looks: 0 };
    const stale = known?.sign !== sign || info?.state !== "RUNNING" || looks % INFO_EVERY === 0 ||
      unsupported || (held.kind === "ok" && this.#missing(listed, info, held.value));
    if (stale) {
      const answer = await nydusdApi.info(apiSocket, options);
      if (answer.kind !== "ok") return await this.#down(listed, known, answer);
      info = answer.value;
    }
    if (info === undefined) return await this.#down(listed, known, { kind: "timed-out" });
    this.#known.set(apiSocket, { info, sign, looks: looks + 1 });
    return {
      ...await this.#described(listed, info),
      state: stateOf(info.state),
      ...(stateOf(info.state) !== "running" && { stateDetail: `nydusd says ${info.state}` }),
      configApi: unsupported ? "unsupported" : "supported",
      ...(held.kind === "ok" && { held: held.value }),
    };
  }

  /** A mount that holds nothing has no credential, or is not where we believe it to be. */
  #missing(
    listed: ListedDaemon,
    info: NydusdInfo | undefined,
    held: ReadonlyMap<string, Secret>,
  ): boolean {
    if (info === undefined) return true;
    return listed.instances.some((instance) => {
      const mountId = mountIdOf(instance, listed, info);
      return mountId === undefined || !held.has(mountId);
    });
  }

  async #down(
    listed: ListedDaemon,
    known: Known | undefined,
    why: PeerResult<unknown>,
  ): Promise<Daemon> {
    // The next answer may come from another process behind the same socket.
    if (known !== undefined) this.#known.set(listed.apiSocket, { ...known, sign: "" });
    const { state, detail } = whyDown(why);
    return {
      ...await this.#described(listed, known?.info),
      state,
      configApi: "unknown",
      ...(detail !== undefined && { stateDetail: detail }),
    };
  }

  async #described(
    listed: ListedDaemon,
    info: NydusdInfo | undefined,
  ): Promise<Omit<Daemon, "state" | "configApi">> {
    const { id, pid, apiSocket, source, instances } = listed;
    const shared = info === undefined || info.mounts.length === 0
      ? this.#options.sharedByDefault
      : !info.mounts.some(({ mountId }) => mountId === "/");
    return {
      id,
      apiSocket,
      source,
      ...(pid !== undefined && { pid }),
      ...(info !== undefined && { version: info.version }),
      mode: shared ? "shared" : "dedicated",
      instances: await Promise.all(
        instances.map((instance) => this.#instance(listed, instance, info, shared)),
      ),
    };
  }

  async #instance(
    listed: ListedDaemon,
    instance: ListedInstance,
    info: NydusdInfo | undefined,
    shared: boolean,
  ): Promise<RafsInstance> {
    const { snapshotId } = instance;
    const mountId = info && mountIdOf(instance, listed, info);
    const told = info?.mounts.find((mount) => mount.mountId === mountId);
    const folder = join(this.#options.root, "config", listed.id);
    const configPath = listed.source === "configured"
      ? undefined
      : join(folder, ...(shared ? [snapshotId] : []), "config.json");
    // Until nydusd tells, its file does: what is written there must be for the right host too.
    const backend = told?.backend ??
      (told === undefined && configPath !== undefined
        ? await this.#options.backendFiles.read(configPath)
        : undefined);
    return {
      daemonId: listed.id,
      ...instance,
      ...(mountId !== undefined && { mountId }),
      ...(backend !== undefined && { backend, ...await this.#endpoint(instance, backend) }),
      ...(configPath !== undefined && { configPath }),
    };
  }

  async #endpoint(
    { image }: ListedInstance,
    backend: RegistryBackend,
  ): Promise<Pick<RafsInstance, "endpoint">> {
    const { namedHosts } = this.#options;
    const endpoint = image &&
      await endpointOf(image, backend, (host) => namedHosts.nameOf(image, host));
    return endpoint === undefined ? {} : { endpoint };
  }
}

/** nydusd's own keys decide: `/<snapshotID>` in a shared daemon, `/` in a dedicated one. */
function mountIdOf(
  { snapshotId }: ListedInstance,
  { instances, source }: ListedDaemon,
  { mounts }: NydusdInfo,
): string | undefined {
  const own = `/${snapshotId}`;
  if (mounts.some(({ mountId }) => mountId === own)) return own;
  const [only] = mounts;
  if (mounts.length !== 1 || only === undefined || instances.length !== 1) return undefined;
  return only.mountId === "/" || source === "configured" ? only.mountId : undefined;
}

function stateOf(word: string): DaemonState {
  switch (word.toUpperCase()) {
    case "RUNNING":
      return "running";
    case "INIT":
    case "READY":
      return "starting";
    case "STOPPED":
      return "stopped";
    case "DYING":
    case "DIE":
    case "DESTROYED":
      return "dying";
    default:
      return "broken";
  }
}

function whyDown(
  why: PeerResult<unknown>,
): { readonly state: DaemonState; readonly detail?: string } {
  switch (why.kind) {
    case "no-socket":
      return { state: "no-socket" };
    case "no-listener":
      return { state: "no-listener", detail: "its socket file is left, and nobody listens" };
    case "timed-out":
      return { state: "unresponsive", detail: "it takes connections and does not answer in time" };
    case "refused":
    case "broken":
      return { state: "broken", detail: why.detail };
    case "ok":
      return { state: "broken", detail: "it answers, and says nothing of itself" };
  }
}
