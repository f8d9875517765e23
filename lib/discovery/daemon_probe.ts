import { join } from "@std/path";
import {
  type CallOptions,
  type Daemon,
  type DaemonState,
  defined,
  describeFailure,
  endpointOf,
  type FileSystem,
  messageOf,
  type NydusdApi,
  type NydusdInfo,
  type NydusdMount,
  type PeerFailure,
  type RafsInstance,
} from "../model/mod.ts";
import { type ListedDaemon, type ListedInstance, readDaemonFile } from "./listed.ts";
import type { ApprovedHosts } from "./approved_hosts.ts";

interface DaemonProbeOptions {
  readonly nydusdApi: NydusdApi;
  readonly files: FileSystem;
  /** Root folder of the snapshotter, which contains the configuration files. */
  readonly root: string;
  readonly sharedByDefault: boolean;
  readonly approvedHosts: ApprovedHosts;
}

/** The mounts of a nydusd by mount ID. */
type Mounts = ReadonlyMap<string, NydusdMount>;

/** Queries nydusd for its state, its mounts and their credentials: two requests per daemon. */
export class DaemonProbe {
  readonly #options: DaemonProbeOptions;
  /** The last answer of each daemon, by ID: its mounts stay known while it is down. */
  readonly #lastInfo = new Map<string, NydusdInfo>();

  constructor(options: DaemonProbeOptions) {
    this.#options = options;
  }

  /** Removes the daemons that no source lists. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#lastInfo.keys()) if (!ids.has(id)) this.#lastInfo.delete(id);
  }

  /**
   * Probes the sockets of a daemon, newest first. Returns the first that is running, else the first
   * that answers, else the newest: during an upgrade, or after one that failed, the older nydusd
   * serves the mounts.
   */
  async probe(listed: ListedDaemon, options: CallOptions): Promise<Daemon> {
    let best = await this.#probeSocket(listed, options);
    for (const apiSocket of listed.olderSockets ?? []) {
      if (best.state === "running") break;
      const older = await this.#probeSocket({ ...listed, apiSocket }, options);
      if (older.state === "running" || !answers(best) && answers(older)) best = older;
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
      // For example a folder without permission; "no such socket" would mislead.
      return await this.#down(listed, { kind: "broken", detail: messageOf(error) });
    }
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
    const { state, detail: stateDetail } = stateAfter(failure);
    const configApi = "unknown" as const;
    return defined({ ...await this.#describe(listed), state, configApi, stateDetail });
  }

  async #describe(
    listed: ListedDaemon,
  ): Promise<Omit<Daemon, "state" | "configApi" | "currentAuth">> {
    const { id, pid, apiSocket, source, instances } = listed;
    const info = this.#lastInfo.get(id);
    const mounts = new Map((info?.mounts ?? []).map((mount) => [mount.mountId, mount]));
    const shared = mounts.size === 0 ? this.#options.sharedByDefault : !mounts.has("/");
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
    mounts: Mounts,
    shared: boolean,
  ): Promise<RafsInstance> {
    const mountId = mountIdOf(instance, listed, mounts);
    const mount = mountId === undefined ? undefined : mounts.get(mountId);
    const { root, files, approvedHosts } = this.#options;
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
      await endpointOf(image, backend, (host) => approvedHosts.approvalOf(image, host));
    return defined({ ...instance, mountId, backend, endpoint, configPath });
  }
}

/** Returns the mount ID in nydusd: `/<snapshotID>` in a shared daemon, `/` in a dedicated one. */
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

/** Whether a nydusd answers on the socket, even if it is not ready to serve. */
function answers({ state }: Daemon): boolean {
  return REPORTED_STATES.values().some((reported) => reported === state);
}

/** Returns the state of a daemon that did not answer, with details if there are any. */
function stateAfter(
  failure: PeerFailure,
): { readonly state: DaemonState; readonly detail?: string } {
  switch (failure.kind) {
    case "no-socket":
      return { state: "no-socket" };
    case "no-listener":
      return { state: "no-listener", detail: describeFailure(failure) };
    case "timed-out": {
      const detail = "it accepts connections but does not answer in time";
      return { state: "unresponsive", detail };
    }
    case "refused":
    case "broken":
      return { state: "broken", detail: failure.detail };
  }
}
