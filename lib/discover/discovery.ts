import { join } from "@std/path";
import {
  type CallOptions,
  type Daemon,
  type DiscoveryProblem,
  type FileSystem,
  messageOf,
  type NodeView,
  type NydusdApi,
  type PeerResult,
  type SnapshotterApi,
  type SnapshotterDaemon,
} from "../model/mod.ts";
import { BackendFiles } from "./backend_files.ts";
import { DaemonProbe } from "./daemon_probe.ts";
import { type ConfiguredSocket, listedByHand, type ListedDaemon } from "./listed.ts";
import { listedBySystemApi, mergeListed, socketsOf } from "./listed.ts";
import { NamedHosts, type NamedHostsOptions } from "./named_hosts.ts";
import { RootFolder } from "./root_folder.ts";
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
  readonly hosts?: Omit<NamedHostsOptions, "files">;
  readonly snapshotterApi: SnapshotterApi;
  readonly nydusdApi: NydusdApi;
  readonly files: FileSystem;
  /** Daemons asked side by side; default 16. */
  readonly maxParallel?: number;
}

/** Finds the live RAFS instances, by the system API, the root folder and the operator's list. */
export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #root: RootFolder;
  readonly #probe: DaemonProbe;
  readonly #namedHosts: NamedHosts;
  readonly #backendFiles: BackendFiles;
  /** The system API's last good answer stays in force while it does not answer. */
  #lastList: readonly ListedDaemon[] | undefined;
  /** The same in its own words. */
  #lastAnswer: readonly SnapshotterDaemon[] | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    const { config: { root, daemonMode }, files, nydusdApi } = options;
    this.#root = new RootFolder(root, files);
    const sharedByDefault = daemonMode === "shared";
    const hosts = options.hosts ?? { vpcRegistry: false, allowedHosts: [] };
    const namedHosts = new NamedHosts({ ...hosts, files });
    const backendFiles = new BackendFiles(files);
    this.#namedHosts = namedHosts;
    this.#backendFiles = backendFiles;
    const parts = { nydusdApi, files, root, sharedByDefault, namedHosts, backendFiles };
    this.#probe = new DaemonProbe(parts);
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
    this.#probe.keepOnly(new Set(listed.flatMap(socketsOf)));
    const daemons: Daemon[] = new Array(listed.length);
    let next = 0;
    const worker = async () => {
      while (next < listed.length) {
        const i = next++;
        const daemon = listed[i];
        if (daemon !== undefined) daemons[i] = await this.#probe.look(daemon, options);
      }
    };
    const workers = Math.min(this.#options.maxParallel ?? 16, listed.length);
    await Promise.all(Array.from({ length: workers }, worker));
    this.#backendFiles.forgetUnread();
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
      : await this.#askSystemApi(config.systemSocket, problems, options);
    const lists = [this.#lastList ?? []];
    if (!answered) lists.push(await this.#readRoot(problems));
    lists.push(await this.#byHand());
    return mergeListed(lists);
  }

  async #askSystemApi(
    socket: string,
    problems: DiscoveryProblem[],
    options: CallOptions,
  ): Promise<boolean> {
    const answer = await this.#options.snapshotterApi.daemons(socket, {
      ...options,
      ...(this.#lastAnswer && { before: this.#lastAnswer }),
    });
    if (answer.kind !== "ok") {
      problems.push({ source: "system-api", subject: socket, detail: whyNot(answer) });
      return false;
    }
    const { daemons, refused } = listedBySystemApi(answer.value, this.#lastList);
    for (const detail of refused) problems.push({ source: "system-api", subject: socket, detail });
    this.#lastList = daemons;
    this.#lastAnswer = answer.value;
    return true;
  }

  async #readRoot(problems: DiscoveryProblem[]): Promise<readonly ListedDaemon[]> {
    try {
      return await this.#root.list();
    } catch (error) {
      const subject = this.#options.config.root;
      problems.push({ source: "root", subject, detail: messageOf(error) });
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

function whyNot(answer: Exclude<PeerResult<unknown>, { kind: "ok" }>): string {
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
