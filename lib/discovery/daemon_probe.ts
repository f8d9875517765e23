import { join } from "@std/path";
import {
  type CallOptions,
  type Daemon,
  type DaemonState,
  endpointOf,
  type FileSystem,
  messageOf,
  type NydusdApi,
  type NydusdInfo,
  type NydusdMount,
  type PeerResult,
  type RafsInstance,
  readBackendOfFile,
  type RegistryBackend,
} from "../model/mod.ts";
import type { ListedDaemon, ListedInstance } from "./listed.ts";
import type { ApprovedHosts } from "./approved_hosts.ts";

/** What a probe needs. */
export interface DaemonProbeOptions {
  readonly nydusdApi: NydusdApi;
  readonly files: FileSystem;
  /** The snapshotter's root folder, for the paths of configuration files. */
  readonly root: string;
  readonly sharedByDefault: boolean;
  readonly namedHosts: ApprovedHosts;
}

/** What nydusd serves, by mount id. */
type Mounts = ReadonlyMap<string, NydusdMount>;

/** Queries nydusd for its state, its mounts and what they hold: two requests per daemon. */
export class DaemonProbe {
  readonly #options: DaemonProbeOptions;
  /** The last answer of each daemon, by id: what it serves is not forgotten while it is down. */
  readonly #lastInfo = new Map<string, NydusdInfo>();

  constructor(options: DaemonProbeOptions) {
    this.#options = options;
  }

  /** Forgets the daemons that no source lists any more. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#lastInfo.keys()) if (!ids.has(id)) this.#lastInfo.delete(id);
  }

  /**
   * Probes the sockets of a daemon, newest first: the first behind which a nydusd is running counts,
   * else the first that answers, else the newest. While an upgrade is under way, or after one that
   * failed, the older nydusd serves.
   */
  async probe(listed: ListedDaemon, options: CallOptions): Promise<Daemon> {
    let best = await this.#probeSocket(listed, options);
    for (const apiSocket of listed.olderSockets ?? []) {
      if (best.state === "running") break;
      const older = await this.#probeSocket({ ...listed, apiSocket }, options);
      if (older.state === "running" || !isAnswer(best) && isAnswer(older)) best = older;
    }
    return best;
  }

  async #probeSocket(listed: ListedDaemon, options: CallOptions): Promise<Daemon> {
    const { nydusdApi, files } = this.#options;
    const { id, apiSocket } = listed;
    try {
      if (await files.stat(apiSocket) === undefined) {
        return await this.#down(listed, { kind: "no-socket" });
      }
    } catch (error) {
      // A folder that the agent may not enter, for one: "no such socket" would mislead.
      return await this.#down(listed, { kind: "broken", detail: messageOf(error) });
    }
    const info = await nydusdApi.info(apiSocket, options);
    if (info.kind !== "ok") return await this.#down(listed, info);
    this.#lastInfo.set(id, info.value);
    const currentAuth = await nydusdApi.readAuths(apiSocket, options);
    const isUnsupported = currentAuth.kind === "refused" && currentAuth.status === 404;
    if (currentAuth.kind !== "ok" && !isUnsupported) return await this.#down(listed, currentAuth);
    const state = stateOf(info.value.state);
    return {
      ...await this.#describe(listed),
      state,
      ...(state !== "running" && { stateDetail: `nydusd says ${info.value.state}` }),
      configApi: isUnsupported ? "unsupported" : "supported",
      ...(currentAuth.kind === "ok" && { currentAuth: currentAuth.value }),
    };
  }

  async #down(listed: ListedDaemon, failure: PeerFailure): Promise<Daemon> {
    const { state, detail } = stateAfter(failure);
    return {
      ...await this.#describe(listed),
      state,
      configApi: "unknown",
      ...(detail !== undefined && { stateDetail: detail }),
    };
  }

  async #describe(
    listed: ListedDaemon,
  ): Promise<Omit<Daemon, "state" | "configApi" | "currentAuth">> {
    const { id, pid, apiSocket, source, instances } = listed;
    const info = this.#lastInfo.get(id);
    const mounts = new Map((info?.mounts ?? []).map((mount) => [mount.mountId, mount]));
    const shared = mounts.size === 0 ? this.#options.sharedByDefault : !mounts.has("/");
    return {
      id,
      apiSocket,
      source,
      ...(pid !== undefined && { pid }),
      ...(info !== undefined && { version: info.version }),
      mode: shared ? "shared" : "dedicated",
      instances: await Promise.all(
        instances.map((instance) => this.#instanceOf(listed, instance, mounts, shared)),
      ),
    };
  }

  async #instanceOf(
    listed: ListedDaemon,
    instance: ListedInstance,
    mounts: Mounts,
    shared: boolean,
  ): Promise<RafsInstance> {
    const mountId = mountIdOf(instance, listed, mounts);
    const mount = mountId === undefined ? undefined : mounts.get(mountId);
    const folder = join(this.#options.root, "config", listed.id);
    const configPath = listed.source === "configured"
      ? undefined
      : join(folder, ...(shared ? [instance.snapshotId] : []), "config.json");
    // Until nydusd answers, its file says where it reads: the file must be for the right host too.
    const backend = mount?.backend ??
      (mount === undefined && configPath !== undefined
        ? await this.#backendOfFile(configPath)
        : undefined);
    return {
      daemonId: listed.id,
      ...instance,
      ...(mountId !== undefined && { mountId }),
      ...(backend !== undefined && { backend, ...await this.#endpoint(instance, backend) }),
      ...(configPath !== undefined && { configPath }),
    };
  }

  async #backendOfFile(path: string): Promise<RegistryBackend | undefined> {
    try {
      const { files } = this.#options;
      if ((await files.stat(path))?.kind !== "file") return undefined;
      const text = await files.readText(path);
      const backend = text === undefined ? undefined : readBackendOfFile(JSON.parse(text));
      return backend?.host === undefined ? undefined : backend;
    } catch {
      return undefined; // unreadable or half-written
    }
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
  mounts: Mounts,
): string | undefined {
  const own = `/${snapshotId}`;
  if (mounts.has(own)) return own;
  const [only] = mounts.keys();
  if (mounts.size !== 1 || only === undefined || instances.length !== 1) return undefined;
  return only === "/" || source === "configured" ? only : undefined;
}

/** Whether a nydusd answers on the socket, also if it is not (yet) ready to serve. */
function isAnswer({ state }: Daemon): boolean {
  return state === "running" || state === "starting" || state === "terminating" ||
    state === "stopped";
}

/** The state that nydusd reports, as one of ours. */
function stateOf(reported: string): DaemonState {
  switch (reported.toUpperCase()) {
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
      return "terminating";
    default:
      return "broken";
  }
}

type PeerFailure = Exclude<PeerResult<unknown>, { kind: "ok" }>;

/** The state of a daemon that gave no answer, and more words where there are any. */
function stateAfter(
  failure: PeerFailure,
): { readonly state: DaemonState; readonly detail?: string } {
  switch (failure.kind) {
    case "no-socket":
      return { state: "no-socket" };
    case "no-listener":
      return { state: "no-listener", detail: "its socket file is left, and nobody listens" };
    case "timed-out":
      return { state: "unresponsive", detail: "it takes connections and does not answer in time" };
    case "refused":
    case "broken":
      return { state: "broken", detail: failure.detail };
  }
}
