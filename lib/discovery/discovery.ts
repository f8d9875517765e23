import { join } from "@std/path";
import {
  type CallOptions,
  type Daemon,
  type DaemonState,
  defined,
  describeFailure,
  type DiscoveryProblem,
  endpointOf,
  type FileSystem,
  messageOf,
  type NodeView,
  type NydusdApi,
  type NydusdInfo,
  type NydusdMount,
  type PeerFailure,
  type RafsInstance,
  Semaphore,
  type SnapshotterApi,
} from "../model/mod.ts";
import { ApprovedHosts, type ApprovedHostsOptions } from "./approved_hosts.ts";
import {
  type ConfiguredSocket,
  listConfigured,
  listedBySystemApi,
  type ListedDaemon,
  type ListedInstance,
  listRootFolder,
  mergeListed,
  readDaemonFile,
  watchedPath,
} from "./listed.ts";

/** Options of {@linkcode Discovery}. */
export interface DiscoveryOptions {
  readonly config: {
    readonly root: string;
    readonly systemSocket?: string;
    readonly daemonMode: "dedicated" | "shared" | "none";
    readonly daemons: readonly ConfiguredSocket[];
  };
  /** Configuration that approves hosts. */
  readonly hosts: Omit<ApprovedHostsOptions, "files">;
  readonly snapshotterApi: SnapshotterApi;
  readonly nydusdApi: NydusdApi;
  readonly files: FileSystem;
}

/** Daemons queried concurrently. */
const MAX_PARALLEL = 16;

/**
 * Discovers the RAFS instances on the node from three sources: the snapshotter's system API, its
 * root folder while the API does not answer, and the configured daemons.
 */
export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #approvedHosts: ApprovedHosts;
  /** The last answer of each daemon, by ID: its mounts stay known while it is down. */
  readonly #lastInfo = new Map<string, NydusdInfo>();
  /** The last list of the system API, used while the API does not answer. */
  #lastList: readonly ListedDaemon[] | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    this.#approvedHosts = new ApprovedHosts({ ...options.hosts, files: options.files });
  }

  /** Takes over the last list after a reload. */
  inherit(before: Discovery): void {
    const { root, systemSocket } = this.#options.config;
    const known = before.#options.config;
    if (known.root === root && known.systemSocket === systemSocket) {
      this.#lastList = before.#lastList;
    }
  }

  /** Discovers once. A failing source is a problem in the view; rejects only on `signal`. */
  async discover(options: CallOptions = {}): Promise<NodeView> {
    const problems: DiscoveryProblem[] = [];
    this.#approvedHosts.refresh();
    const listed = await this.#list(problems, options);
    const ids = new Set(listed.map(({ id }) => id));
    for (const id of this.#lastInfo.keys()) if (!ids.has(id)) this.#lastInfo.delete(id);
    const semaphore = new Semaphore(MAX_PARALLEL);
    const daemons = await Promise.all(
      listed.map((daemon) => semaphore.run(() => this.#probe(daemon, options))),
    );
    options.signal?.throwIfAborted();
    return { daemons, problems };
  }

  /** Returns the paths to watch for changes of the node. */
  watchPaths(): readonly string[] {
    const { config: { root, systemSocket, daemons }, hosts } = this.#options;
    const own = [hosts.mirrorsDir, join(root, "socket"), join(root, "config"), systemSocket];
    return [...own, ...daemons.map(({ socket }) => watchedPath(socket))]
      .filter((path) => path !== undefined);
  }

  async #list(
    problems: DiscoveryProblem[],
    options: CallOptions,
  ): Promise<readonly ListedDaemon[]> {
    const { config } = this.#options;
    const answered = config.systemSocket !== undefined &&
      await this.#querySystemApi(config.systemSocket, problems, options);
    const lists = [this.#lastList ?? []];
    if (!answered) lists.push(await this.#readRoot(problems));
    lists.push(await listConfigured(config.daemons, this.#options.files));
    return mergeListed(lists);
  }

  async #querySystemApi(
    socket: string,
    problems: DiscoveryProblem[],
    options: CallOptions,
  ): Promise<boolean> {
    const answer = await this.#options.snapshotterApi.daemons(socket, options);
    if (answer.kind !== "ok") {
      const hint = " (one stopped nydusd blocks the snapshotter's list)";
      const detail = `${describeFailure(answer)}${answer.kind === "timed-out" ? hint : ""}; ` +
        "using the last known list and the root folder";
      problems.push({ source: "system-api", subject: socket, detail });
      return false;
    }
    const { daemons, refused } = listedBySystemApi(answer.value);
    for (const detail of refused) problems.push({ source: "system-api", subject: socket, detail });
    this.#lastList = daemons;
    return true;
  }

  async #readRoot(problems: DiscoveryProblem[]): Promise<readonly ListedDaemon[]> {
    const { config: { root }, files } = this.#options;
    try {
      return await listRootFolder(root, files);
    } catch (error) {
      problems.push({ source: "root", subject: root, detail: messageOf(error) });
      return [];
    }
  }

  /**
   * Probes the sockets of a daemon, newest first. Returns the first that is running, else the
   * newest: during an upgrade, or after one that failed, the older nydusd serves the mounts.
   */
  async #probe(listed: ListedDaemon, options: CallOptions): Promise<Daemon> {
    const newest = await this.#probeSocket(listed, options);
    if (newest.state === "running") return newest;
    for (const apiSocket of listed.olderSockets ?? []) {
      const older = await this.#probeSocket({ ...listed, apiSocket }, options);
      if (older.state === "running") return older;
    }
    return newest;
  }

  async #probeSocket(listed: ListedDaemon, options: CallOptions): Promise<Daemon> {
    const { nydusdApi } = this.#options;
    const { id, apiSocket } = listed;
    const info = await nydusdApi.info(apiSocket, options);
    if (info.kind !== "ok") return this.#down(listed, info);
    this.#lastInfo.set(id, info.value);
    const currentAuth = await nydusdApi.readAuths(apiSocket, options);
    const isUnsupported = currentAuth.kind === "refused" && currentAuth.status === 404;
    if (currentAuth.kind !== "ok" && !isUnsupported) return this.#down(listed, currentAuth);
    const state = REPORTED_STATES.get(info.value.state.toUpperCase()) ?? "broken";
    return defined({
      ...await this.#describe(listed),
      state,
      stateDetail: state === "running" ? undefined : `nydusd reports ${info.value.state}`,
      configApi: isUnsupported ? "unsupported" as const : "supported" as const,
      currentAuth: currentAuth.kind === "ok" ? currentAuth.value : undefined,
    });
  }

  async #down(listed: ListedDaemon, failure: PeerFailure): Promise<Daemon> {
    return {
      ...await this.#describe(listed),
      state: STATE_AFTER[failure.kind],
      stateDetail: failure.kind === "timed-out"
        ? "it accepts connections but does not answer in time"
        : describeFailure(failure),
      configApi: "unknown",
    };
  }

  async #describe(
    listed: ListedDaemon,
  ): Promise<Omit<Daemon, "state" | "configApi" | "currentAuth">> {
    const { id, pid, apiSocket, source, instances } = listed;
    const info = this.#lastInfo.get(id);
    const mounts = new Map((info?.mounts ?? []).map((mount) => [mount.mountId, mount]));
    const shared = mounts.size === 0
      ? this.#options.config.daemonMode === "shared"
      : !mounts.has("/");
    return defined({
      id,
      apiSocket,
      source,
      pid,
      version: info?.version,
      mode: shared ? "shared" as const : "dedicated" as const,
      instances: await Promise.all(
        instances.map((instance) => this.#instanceOf(listed, instance, mounts, shared)),
      ),
    });
  }

  async #instanceOf(
    listed: ListedDaemon,
    instance: ListedInstance,
    mounts: ReadonlyMap<string, NydusdMount>,
    shared: boolean,
  ): Promise<RafsInstance> {
    const mountId = mountIdOf(instance, listed, mounts);
    const mount = mountId === undefined ? undefined : mounts.get(mountId);
    const { config: { root }, files } = this.#options;
    const folder = join(root, "config", listed.id);
    const configPath = listed.source === "configured"
      ? undefined
      : join(folder, ...(shared ? [instance.snapshotId] : []), "config.json");
    // Until nydusd answers, its file shows which host it reads from.
    const file = mount === undefined && configPath !== undefined
      ? await readDaemonFile(configPath, files)
      : undefined;
    const inFile = file?.backend?.host === undefined ? undefined : file.backend;
    const backend = mount === undefined ? inFile : mount.backend;
    const { image } = instance;
    const endpoint = image && backend &&
      await endpointOf(image, backend, (host) => this.#approvedHosts.approvalOf(image, host));
    return defined({ ...instance, mountId, backend, endpoint, configPath });
  }
}

/** Returns the mount ID in nydusd: `/<snapshotID>` in a shared daemon, `/` in a dedicated one. */
function mountIdOf(
  { snapshotId }: ListedInstance,
  { instances, source }: ListedDaemon,
  mounts: ReadonlyMap<string, NydusdMount>,
): string | undefined {
  const own = `/${snapshotId}`;
  if (mounts.has(own)) return own;
  const [only] = mounts.keys();
  if (mounts.size !== 1 || only === undefined || instances.length !== 1) return undefined;
  return only === "/" || source === "configured" ? only : undefined;
}

/** The states that nydusd reports; any other is `broken`. */
const REPORTED_STATES: ReadonlyMap<string, DaemonState> = new Map([
  ["RUNNING", "running"],
  ["INIT", "starting"],
  ["READY", "starting"],
  ["STOPPED", "stopped"],
  ["DYING", "terminating"],
  ["DIE", "terminating"],
  ["DESTROYED", "terminating"],
]);

/** The state of a daemon that did not answer. */
const STATE_AFTER: Readonly<Record<PeerFailure["kind"], DaemonState>> = {
  "no-socket": "no-socket",
  "no-listener": "no-listener",
  "timed-out": "unresponsive",
  refused: "broken",
  broken: "broken",
};
