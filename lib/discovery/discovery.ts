import { join } from "@std/path";
import {
  type CallOptions,
  describeFailure,
  type DiscoveryProblem,
  type FileSystem,
  messageOf,
  type NodeView,
  type NydusdApi,
  Semaphore,
  type SnapshotterApi,
} from "../model/mod.ts";
import { ApprovedHosts, type ApprovedHostsOptions } from "./approved_hosts.ts";
import { DaemonProbe } from "./daemon_probe.ts";
import {
  type ConfiguredSocket,
  listConfigured,
  listedBySystemApi,
  type ListedDaemon,
  listRootFolder,
  mergeListed,
} from "./listed.ts";

/** Options of {@linkcode Discovery}. */
export interface DiscoveryOptions {
  readonly config: {
    readonly root: string;
    readonly systemSocket?: string;
    readonly daemonMode: "dedicated" | "shared" | "none";
    readonly daemons: readonly ConfiguredSocket[];
  };
  /** Configuration that approves hosts; without it no host but the own registry is approved. */
  readonly hosts?: Omit<ApprovedHostsOptions, "files">;
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
  readonly #probe: DaemonProbe;
  readonly #approvedHosts: ApprovedHosts;
  /** The last list of the system API, used while the API does not answer. */
  #lastList: readonly ListedDaemon[] | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    const { config: { root, daemonMode }, files, nydusdApi } = options;
    const sharedByDefault = daemonMode === "shared";
    const hosts = options.hosts ?? { vpcRegistry: false, allowedHosts: [] };
    const approvedHosts = new ApprovedHosts({ ...hosts, files });
    this.#approvedHosts = approvedHosts;
    this.#probe = new DaemonProbe({ nydusdApi, files, root, sharedByDefault, approvedHosts });
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
    this.#probe.keepOnly(new Set(listed.map(({ id }) => id)));
    const semaphore = new Semaphore(MAX_PARALLEL);
    const daemons = await Promise.all(
      listed.map((daemon) => semaphore.run(() => this.#probe.probe(daemon, options))),
    );
    options.signal?.throwIfAborted();
    return { daemons, problems };
  }

  /** Returns the paths to watch for changes of the node. */
  watchPaths(): readonly string[] {
    const { config: { root, systemSocket, daemons }, hosts } = this.#options;
    return [
      ...(hosts?.mirrorsDir === undefined ? [] : [hosts.mirrorsDir]),
      join(root, "socket"),
      join(root, "config"),
      ...(systemSocket === undefined ? [] : [systemSocket]),
      ...daemons.map(({ socket }) => socket),
    ];
  }

  async #list(
    problems: DiscoveryProblem[],
    options: CallOptions,
  ): Promise<readonly ListedDaemon[]> {
    const { config } = this.#options;
    const answered = config.systemSocket === undefined
      ? false
      : await this.#querySystemApi(config.systemSocket, problems, options);
    const lists = [this.#lastList ?? []];
    if (!answered) lists.push(await this.#readRoot(problems));
    lists.push(listConfigured(config.daemons));
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
}
