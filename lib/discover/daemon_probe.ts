import { join } from "@std/path";
import { isDeepStrictEqual } from "node:util";
import {
  type CallOptions,
  type Daemon,
  endpointOf,
  type FileStat,
  type FileSystem,
  messageOf,
  type NydusdApi,
  type NydusdInfo,
  type NydusdMount,
  type PeerResult,
  type RafsInstance,
  type RegistryBackend,
  type Secret,
} from "../model/mod.ts";
import type { BackendFiles } from "./backend_files.ts";
import { stateOf, whyDown } from "./daemon_words.ts";
import { type ListedDaemon, type ListedInstance, socketsOf } from "./listed.ts";
import type { NamedHosts } from "./named_hosts.ts";

/** What a probe remembers of a daemon, so that a steady one costs one request a look. */
interface Known {
  readonly info: NydusdInfo;
  readonly mounts: Mounts;
  readonly sign: Sign;
  readonly looks: number;
  /** Its last answer about what the mounts hold. */
  readonly answer: ReadonlyMap<string, Secret> | undefined;
  /** Whether every mount that is listed was found in it. */
  readonly isComplete: boolean;
  /** Whether its mounts are the same as long as nydusd and the sources say the same. */
  readonly isLasting: boolean;
  /** What the last look found: what is the same again is the same object again. */
  readonly daemon: Daemon;
}

/** What nydusd serves, by mount id. */
type Mounts = ReadonlyMap<string, NydusdMount>;

/** Whether the mounts known are those of this process, this socket and this list. */
interface Sign {
  readonly stamp: string;
  readonly listed: ListedDaemon | undefined;
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

  /** Probes the newest socket of a daemon that answers; the newest of all if none does. */
  async look(listed: ListedDaemon, options: CallOptions): Promise<Daemon> {
    let newest: Daemon | undefined;
    for (const apiSocket of socketsOf(listed)) {
      const daemon = await this.#probe({ ...listed, apiSocket }, options);
      if (isAnswer(daemon)) return daemon;
      newest ??= daemon;
    }
    return newest ?? await this.#probe(listed, options);
  }

  async #probe(listed: ListedDaemon, options: CallOptions): Promise<Daemon> {
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
    const held = await nydusdApi.heldAuths(apiSocket, {
      ...options,
      ...(known?.answer && { before: known.answer }),
    });
    const answer = held.kind === "ok" ? held.value : undefined;
    const again = answer !== undefined && answer === known?.answer ? known : undefined;
    const unsupported = held.kind === "refused" && held.status === 404;
    if (held.kind !== "ok" && !unsupported) return await this.#down(listed, known, held);
    const sign: Sign = { stamp: stat.stamp, listed };
    // Daemons take turns, so that not all of them are asked for their mounts in one look.
    const nobody = { info: undefined, mounts: NO_MOUNTS, looks: this.#known.size % INFO_EVERY };
    let { info, mounts, looks } = known ?? nobody;
    const stale = !sameSign(known?.sign, sign) || info?.state !== "RUNNING" ||
      looks % INFO_EVERY === 0 || unsupported ||
      (answer !== undefined && !again?.isComplete && isMissing(listed, mounts, answer));
    if (stale) {
      const told = await nydusdApi.info(apiSocket, { ...options, ...(info && { before: info }) });
      if (told.kind !== "ok") return await this.#down(listed, known, told);
      if (told.value !== info) mounts = sameOr(mounts, told.value.mounts);
      info = told.value;
    }
    if (info === undefined) return await this.#down(listed, known, { kind: "timed-out" });
    const before = known?.daemon;
    const isSame = sameSign(known?.sign, sign) && known?.mounts === mounts;
    const state = stateOf(info.state);
    const same = isSame && known?.isLasting ? before?.instances : undefined;
    const daemon: Daemon = {
      ...await this.#described(listed, { info, mounts }, same),
      state,
      ...(state !== "running" && { stateDetail: `nydusd says ${info.state}` }),
      configApi: unsupported ? "unsupported" : "supported",
      ...(answer !== undefined && {
        held: again?.daemon.held ?? unchanged(before?.held, answer),
      }),
    };
    const isComplete = (isSame && again?.isComplete) ||
      (answer !== undefined && !isMissing(listed, mounts, answer));
    this.#known.set(apiSocket, {
      info,
      mounts,
      sign,
      looks: looks + 1,
      answer,
      isComplete,
      isLasting: same !== undefined || daemon.instances.every(dependsOnNothingElse),
      daemon,
    });
    return daemon;
  }

  async #down(
    listed: ListedDaemon,
    known: Known | undefined,
    why: PeerResult<unknown>,
  ): Promise<Daemon> {
    // The next answer may come from another process behind the same socket.
    if (known !== undefined) this.#known.set(listed.apiSocket, { ...known, sign: NO_SIGN });
    const { state, detail } = whyDown(why);
    return {
      ...await this.#described(listed, known),
      state,
      configApi: "unknown",
      ...(detail !== undefined && { stateDetail: detail }),
    };
  }

  /** @param same Its mounts, where nothing has changed since they were described. */
  async #described(
    listed: ListedDaemon,
    known: Pick<Known, "info" | "mounts"> | undefined,
    same?: Daemon["instances"],
  ): Promise<Omit<Daemon, "state" | "configApi" | "held">> {
    const { id, pid, apiSocket, source, instances } = listed;
    const { info, mounts = NO_MOUNTS } = known ?? {};
    const shared = mounts.size === 0 ? this.#options.sharedByDefault : !mounts.has("/");
    const place = { folder: join(this.#options.root, "config", id), shared };
    return {
      id,
      apiSocket,
      source,
      ...(pid !== undefined && { pid }),
      ...(info !== undefined && { version: info.version }),
      mode: shared ? "shared" : "dedicated",
      instances: same ?? await Promise.all(
        instances.map((instance) => this.#instanceOf(listed, instance, mounts, place)),
      ),
    };
  }

  async #instanceOf(
    listed: ListedDaemon,
    instance: ListedInstance,
    mounts: Mounts,
    { folder, shared }: { readonly folder: string; readonly shared: boolean },
  ): Promise<RafsInstance> {
    const { imageId: _, ...named } = instance;
    const mountId = mountIdOf(instance, listed, mounts);
    const told = mountId === undefined ? undefined : mounts.get(mountId);
    const configPath = listed.source === "configured"
      ? undefined
      : join(folder, ...(shared ? [instance.snapshotId] : []), "config.json");
    // Until nydusd tells, its file does: what is written there must be for the right host too.
    const backend = told?.backend ??
      (told === undefined && configPath !== undefined
        ? await this.#options.backendFiles.read(configPath)
        : undefined);
    return {
      daemonId: listed.id,
      ...named,
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

/** Whether a nydusd answers on the socket, also if it is not (yet) ready to serve. */
function isAnswer({ state }: Daemon): boolean {
  return state === "running" || state === "starting" || state === "dying" || state === "stopped";
}

/** Who names a mirror, and what a file says, may change while nydusd tells the same. */
function dependsOnNothingElse({ mountId, endpoint }: RafsInstance): boolean {
  return mountId !== undefined && endpoint === undefined;
}

const NO_MOUNTS: Mounts = new Map();
const NO_SIGN: Sign = { stamp: "", listed: undefined };

function sameSign(before: Sign | undefined, { stamp, listed }: Sign): boolean {
  if (before?.listed === undefined || listed === undefined || before.stamp !== stamp) return false;
  if (before.listed === listed) return true;
  const ids = new Map(before.listed.instances.map((known) => [known.snapshotId, known]));
  return before.listed.pid === listed.pid && ids.size === listed.instances.length &&
    listed.instances.every(({ snapshotId, image, imageProblem }) => {
      const known = ids.get(snapshotId);
      return known !== undefined && known.image?.text === image?.text &&
        known.imageProblem === imageProblem;
    });
}

/** The map of before when nydusd told the same again. */
function sameOr(before: Mounts, now: readonly NydusdMount[]): Mounts {
  const isSame = before.size === now.length &&
    now.every(({ mountId, backend }) =>
      before.has(mountId) && isDeepStrictEqual(before.get(mountId)?.backend, backend)
    );
  return isSame ? before : new Map(now.map((mount) => [mount.mountId, mount]));
}

/** The map of before when both hold the same, so that whoever compares sees it at once. */
function unchanged(
  before: ReadonlyMap<string, Secret> | undefined,
  now: ReadonlyMap<string, Secret>,
): ReadonlyMap<string, Secret> {
  if (before === undefined) return now;
  let isSame = before.size === now.size;
  const merged = new Map<string, Secret>();
  for (const [mountId, secret] of now) {
    const known = before.get(mountId);
    const isKnown = known !== undefined && known.equals(secret);
    isSame &&= isKnown;
    merged.set(mountId, isKnown ? known : secret);
  }
  return isSame ? before : merged;
}

/** A mount that holds nothing has no credential, or is not where we believe it to be. */
function isMissing(
  listed: ListedDaemon,
  mounts: Mounts,
  held: ReadonlyMap<string, Secret>,
): boolean {
  return listed.instances.some((instance) => {
    const mountId = mountIdOf(instance, listed, mounts);
    return mountId === undefined || !held.has(mountId);
  });
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
