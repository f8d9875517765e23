import { join } from "@std/path";
import {
  type CallOptions,
  type DiscoveryProblem,
  type FileSystem,
  messageOf,
  type NodeView,
  type NydusdApi,
  type PeerResult,
  Semaphore,
  type SnapshotterApi,
} from "../model/mod.ts";
import { DaemonProbe } from "./daemon_probe.ts";
import {
  type ConfiguredSocket,
  listedByHand,
  listedBySystemApi,
  type ListedDaemon,
  mergeListed,
} from "./listed.ts";
import { ApprovedHosts, type ApprovedHostsOptions } from "./approved_hosts.ts";
import { listRootFolder } from "./root_folder.ts";
import { expandSocket, watchedPath } from "./sockets.ts";

/** Where to look, and by what. */
export interface DiscoveryOptions {
  readonly config: {
    readonly root: string;
    readonly systemSocket?: string;
    readonly daemonMode: "dedicated" | "shared" | "none";
    readonly daemons: readonly ConfiguredSocket[];
  };
  /** Who may name the hosts that daemons read from; nobody when left out. */
  readonly hosts?: Omit<ApprovedHostsOptions, "files">;
  readonly snapshotterApi: SnapshotterApi;
  readonly nydusdApi: NydusdApi;
  readonly files: FileSystem;
  /** Daemons asked side by side; default 16. */
  readonly maxParallel?: number;
}

const MAX_PARALLEL = 16;

/** Finds the live RAFS instances, by the system API, the root folder and the operator's list. */
export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #probe: DaemonProbe;
  readonly #namedHosts: ApprovedHosts;
  /** The system API's last good answer stays in force while it does not answer. */
  #lastList: readonly ListedDaemon[] | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    const { config: { root, daemonMode }, files, nydusdApi } = options;
    const sharedByDefault = daemonMode === "shared";
    const hosts = options.hosts ?? { vpcRegistry: false, allowedHosts: [] };
    const namedHosts = new ApprovedHosts({ ...hosts, files });
    this.#namedHosts = namedHosts;
    this.#probe = new DaemonProbe({ nydusdApi, files, root, sharedByDefault, namedHosts });
  }

  /** Goes on with what the one before a reload knew of the same node. */
  inherit(before: Discovery): void {
    const { root, systemSocket } = this.#options.config;
    const known = before.#options.config;
    this.#namedHosts.inherit(before.#namedHosts);
    if (known.root === root && known.systemSocket === systemSocket) {
      this.#lastList = before.#lastList;
    }
  }

  /** Looks once. What cannot be read is a problem in the view; rejects for nothing but `signal`. */
  async look(options: CallOptions = {}): Promise<NodeView> {
    const problems: DiscoveryProblem[] = [];
    this.#namedHosts.refresh();
    const listed = await this.#list(problems, options);
    this.#probe.keepOnly(new Set(listed.map(({ id }) => id)));
    const gate = new Semaphore(this.#options.maxParallel ?? MAX_PARALLEL);
    const daemons = await Promise.all(
      listed.map((daemon) => gate.run(() => this.#probe.probe(daemon, options))),
    );
    options.signal?.throwIfAborted();
    return { daemons, problems };
  }

  /** Paths whose change means that the node looks different now. */
  watchPaths(): readonly string[] {
    const { config: { root, systemSocket, daemons }, hosts } = this.#options;
    return [
      ...(hosts?.mirrorsDir === undefined ? [] : [hosts.mirrorsDir]),
      join(root, "socket"),
      join(root, "config"),
      ...(systemSocket === undefined ? [] : [systemSocket]),
      ...daemons.map(({ socket }) => watchedPath(socket)).filter((path) => path !== undefined),
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
    lists.push(await this.#byHand());
    return mergeListed(lists);
  }

  async #querySystemApi(
    socket: string,
    problems: DiscoveryProblem[],
    options: CallOptions,
  ): Promise<boolean> {
    const answer = await this.#options.snapshotterApi.daemons(socket, options);
    if (answer.kind !== "ok") {
      problems.push({ source: "system-api", subject: socket, detail: failureReason(answer) });
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

  async #byHand(): Promise<readonly ListedDaemon[]> {
    const listed: ListedDaemon[] = [];
    for (const configured of this.#options.config.daemons) {
      const sockets = await expandSocket(configured.socket, this.#options.files);
      for (const socket of sockets) {
        // One entry may stand for many daemons: each needs a name of its own.
        const id = socket === configured.socket ? configured.id : `${configured.id}:${socket}`;
        listed.push(listedByHand({ ...configured, id }, socket));
      }
    }
    return listed;
  }
}

function failureReason(answer: Exclude<PeerResult<unknown>, { kind: "ok" }>): string {
  const known = "the last known list stays in force, and the root folder is looked at beside it";
  switch (answer.kind) {
    case "no-socket":
      return `there is no such socket; ${known}`;
    case "no-listener":
      return `nobody listens behind the socket; ${known}`;
    case "timed-out":
      return `no answer in time (one stopped nydusd blocks the snapshotter's list); ${known}`;
    case "refused":
    case "broken":
      return `${answer.detail}; ${known}`;
  }
}
