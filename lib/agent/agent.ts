import { basename, dirname, join } from "@std/path";
import { BUILD_INFO } from "../assets/mod.ts";
import { type AgentConfig, configDifferences } from "../config/mod.ts";
import { Deliverer, inUseDelayMs } from "../delivery/mod.ts";
import { Discovery } from "../discovery/mod.ts";
import {
  createNydusdApi,
  createRegistryHttp,
  createSnapshotterApi,
  createUnixHttp,
  removeTemporaryFiles,
} from "../platform/mod.ts";
import {
  type AgentStatus,
  formatProblem,
  type ImageReference,
  messageOf,
  type Observer,
  PROVIDER_NAMES,
} from "../model/mod.ts";
import { Reconciler, type ReconcileStages } from "../reconciler/mod.ts";
import { CandidateSelector, RegistryProbe } from "../verification/mod.ts";
import { EndpointChain, PushedCredentials, type PushTarget } from "../providers/mod.ts";
import { type ReloadOutcome } from "../providers/exec_plugin/mod.ts";
import { CredentialStore } from "../credentials/mod.ts";
import type { ApiParts } from "./api_backend.ts";
import { type LiveSources, type OpenChain, openChain } from "./chain.ts";
import type { Context } from "../platform/mod.ts";
import { LazyCriProxy } from "./lazy_cri_proxy.ts";
import { approvedHostsOf } from "./read_locations.ts";
import { pullCachePath } from "./cri_proxy_link.ts";

/** The agent itself, without its server: what `run` owns, and a reload changes. */
export interface Agent extends AsyncDisposable {
  /**
   * Steps into the path of pulls and runs until aborted; `ready` is called when the first reconcile
   * is done. Not before: an agent that cannot start would step in and out again and again.
   */
  run(options: { readonly signal: AbortSignal; readonly ready: () => void }): Promise<void>;
  /**
   * Goes on with another configuration. What is known stays. Returns what is different.
   *
   * Everything new is built before anything changes; when a later step fails, the configuration in
   * force goes on as it was.
   */
  reconfigure(config: AgentConfig): Promise<readonly string[]>;
  status(): AgentStatus;
  /** What the local API asks. */
  readonly api: Pick<ApiParts, "config" | "chain" | "onDemand" | "puts" | "look">;
}

/** What one configuration builds; replaced as a whole by a reload. */
interface Parts extends AsyncDisposable {
  readonly stages: ReconcileStages;
  readonly chain: OpenChain;
  readonly discovery: Discovery;
  readonly nodePaths: readonly string[];
}

/** The configuration that the agent works with, and what was built from it. */
interface InForce {
  readonly config: AgentConfig;
  readonly parts: Parts;
}

/** Differs between nodes, stays over restarts: spreads a fleet's renewals. */
const MACHINE_ID = "/etc/machine-id";
const HOSTNAME = "/etc/hostname";

/** Builds the agent that a configuration describes. */
export async function createAgent(
  context: Context,
  first: AgentConfig,
  observer: Observer,
): Promise<Agent> {
  const { clock, files, random } = context;
  const seed = await files.readText(MACHINE_ID).catch(() => undefined) ?? "";
  const process = { ...await nameOf(context), startedAtMs: clock.wallMs() };
  await removeLeftovers(first, observer);
  const http = createUnixHttp();
  const registryHttp = createRegistryHttp();
  const probe = new RegistryProbe({ http: registryHttp, clock });
  const criProxy = new LazyCriProxy(context, observer);
  const changed = (target: PushTarget) =>
    reconciler.recheck(target.kind === "image" ? target.image : undefined);
  const puts = new PushedCredentials({ clock, changed });
  const stop = new AbortController();
  const late = (image: ImageReference) => reconciler.recheck(image);
  const build = partsBuilder(context, observer, {
    http,
    criProxy,
    puts,
    late,
    signal: stop.signal,
  });
  let inForce: InForce = { config: first, parts: await build(first) };
  const store = new CredentialStore({ settings: first.renewal, seed: seed.trim(), random });
  const selector = new CandidateSelector({
    probe,
    clock,
    observer,
    verify: () => inForce.config.delivery.verify,
  });
  const common = { store, observer, clock, inUseDelayMs, selector };
  const reconciler = new Reconciler(common, inForce.parts.stages);
  criProxy.onPull((image) => pullSucceeded(reconciler, image));
  const watches = new Watches(context, () => inForce.parts, reconciler, observer);
  watches.follow();
  const use = (next: InForce) => {
    inForce = next;
    watches.follow();
    store.reconfigure(next.config.renewal, clock.wallMs());
    reconciler.replace(next.parts.stages);
  };
  return {
    run: (options) =>
      criProxy.apply(inForce.config.providers.cri).then(() => reconciler.run(options)),
    async reconfigure(config) {
      const differences = configDifferences(inForce.config, config);
      const next = { config, parts: await build(config, inForce.parts) };
      await replace(inForce, next, { criProxy, use });
      return differences;
    },
    status: () => ({
      ...reconciler.status(),
      ...criProxyStatus(criProxy),
      ...process,
      ...statusOf(inForce),
    }),
    api: {
      config: () => inForce.config,
      chain: () => inForce.parts.chain.chain,
      onDemand: reconciler.onDemand,
      puts,
      look: () => reconciler.trigger("requested"),
    },
    async [Symbol.asyncDispose]() {
      stop.abort(new DOMException("the agent is stopping", "AbortError"));
      watches[Symbol.dispose]();
      puts[Symbol.dispose]();
      await criProxy[Symbol.asyncDispose]();
      await inForce.parts[Symbol.asyncDispose]();
      http[Symbol.dispose]();
      registryHttp[Symbol.dispose]();
    },
  };
}

/** The image's mount is new, and its first reads are near: finds it now. */
function pullSucceeded(reconciler: Reconciler, image: ImageReference): void {
  reconciler.recheck(image);
  reconciler.trigger("node-changed");
}

/** What the status says of the configuration in force. */
function statusOf({ config, parts }: InForce) {
  return {
    configHash: config.hash,
    checkIntervalMs: config.renewal.checkIntervalMs,
    staleWatches: parts.chain.staleWatches(),
    enabledProviders: PROVIDER_NAMES.filter((name) => config.providers[name].enabled),
  };
}

/** Goes from one configuration to another, or, when a step fails, stays with the one in force. */
async function replace(
  from: InForce,
  to: InForce,
  { criProxy, use }: { readonly criProxy: LazyCriProxy; readonly use: (inForce: InForce) => void },
): Promise<void> {
  await using undo = new AsyncDisposableStack();
  undo.use(to.parts);
  undo.defer(() => criProxy.apply(from.config.providers.cri));
  await criProxy.apply(to.config.providers.cri);
  undo.defer(() => use(from));
  use(to);
  undo.move(); // nothing fails from here on
  await from.parts[Symbol.asyncDispose]();
}

/** The build and the node's name: in a pod `$NODE_NAME`; a compiled binary cannot read `/proc`. */
async function nameOf(
  { host, files }: Context,
): Promise<Pick<AgentStatus, "version" | "hostname">> {
  const { version } = BUILD_INFO;
  const hostname = host.env["NODE_NAME"] ||
    (await files.readText(HOSTNAME).catch(() => undefined))?.trim() || "";
  return hostname === "" ? { version } : { version, hostname };
}

/** Removes what a killed agent left while it wrote a file: temporary files with credentials. */
async function removeLeftovers(
  { node, delivery, providers }: AgentConfig,
  observer: Observer,
): Promise<void> {
  const pulls = pullCachePath(providers.cri.socket);
  const tell = (text: string) =>
    observer.notify({ kind: "warning", code: "temporary-files", text });
  const sweep = async (folder: string, fileName: string, depth: number) => {
    try {
      const count = await removeTemporaryFiles(folder, fileName, depth);
      if (count > 0) tell(`removed ${count} temporary file(s) of a killed agent below ${folder}`);
    } catch (error) {
      tell(messageOf(error));
    }
  };
  // `config/<daemonID>[/<snapshotID>]/config.json`
  if (delivery.configFiles !== "never") await sweep(join(node.root, "config"), "config.json", 2);
  await sweep(dirname(pulls), basename(pulls), 0);
}

function partsBuilder(
  context: Context,
  observer: Observer,
  { http, criProxy, ...shared }: Pick<LiveSources, "puts" | "late" | "signal"> & {
    readonly http: ReturnType<typeof createUnixHttp>;
    readonly criProxy: LazyCriProxy;
  },
): (config: AgentConfig, before?: Parts) => Promise<Parts> {
  const nydusdApi = createNydusdApi(http);
  const snapshotterApi = createSnapshotterApi(http);
  const { files } = context;
  return async (config, before) => {
    const hosts = approvedHostsOf(config);
    const node = config.node;
    const discovery = new Discovery({ config: node, hosts, snapshotterApi, nydusdApi, files });
    if (before !== undefined) discovery.inherit(before.discovery);
    const live = { ...shared, pulls: criProxy, ...(before && { before: before.chain }) };
    const chain = await openChain(context, config, observer, live);
    const { configFiles, unapprovedHostPolicy } = config.delivery;
    const { fsDriver } = config.node;
    return {
      chain,
      discovery,
      nodePaths: discovery.watchPaths(),
      stages: {
        discoverer: discovery,
        resolver: new EndpointChain(chain.chain),
        readCounter: nydusdApi,
        remembered: (image) => criProxy.remembered(image),
        deliverer: new Deliverer({ nydusdApi, files, fsDriver, configFiles }),
        checkIntervalMs: config.renewal.checkIntervalMs,
        renewalEnabled: config.renewal.enabled,
        unapprovedHostPolicy,
      },
      [Symbol.asyncDispose]: () => chain[Symbol.asyncDispose](),
    };
  };
}

/** Events make the agent look sooner; none of them is needed for it to be right. */
class Watches implements Disposable {
  readonly #context: Context;
  readonly #parts: () => Parts;
  readonly #reconciler: Reconciler;
  readonly #observer: Observer;
  #paths = "";
  #open = new DisposableStack();

  constructor(context: Context, parts: () => Parts, reconciler: Reconciler, observer: Observer) {
    this.#context = context;
    this.#parts = parts;
    this.#reconciler = reconciler;
    this.#observer = observer;
  }

  /** Follows the parts in force; what is watched already goes on being watched. */
  follow(): void {
    const { files } = this.#context;
    const { chain, nodePaths } = this.#parts();
    const reconciler = this.#reconciler;
    chain.onChange(() => {
      this.#tell("the Kubernetes API");
      reconciler.recheck();
    });
    const paths = JSON.stringify([chain.watchPaths, nodePaths]);
    if (paths === this.#paths) return;
    using opened = new DisposableStack();
    opened.use(files.watch(chain.watchPaths, (path) => void this.#sourceChanged(path)));
    opened.use(files.watch(nodePaths, (path) => reconciler.fileTouched(path)));
    this.#open.dispose();
    this.#open = opened.move();
    this.#paths = paths;
  }

  [Symbol.dispose](): void {
    this.#parts().chain.onChange(() => {});
    this.#open.dispose();
  }

  async #sourceChanged(path: string): Promise<void> {
    this.#tell(path);
    notifyReload(await this.#parts().chain.refresh(), this.#observer);
    this.#reconciler.recheck();
  }

  #tell(path: string): void {
    this.#observer.notify({ kind: "source-changed", source: "providers", path });
  }
}

/** A provider configuration that was refused is told; the plugins before it go on. */
export function notifyReload(outcome: ReloadOutcome, observer: Observer): void {
  if (outcome.kind === "refused") {
    observer.notify({ kind: "config-refused", problems: outcome.problems });
  }
  if (outcome.kind !== "loaded") return;
  for (const warning of outcome.warnings) {
    observer.notify({ kind: "warning", code: "provider-config", text: formatProblem(warning) });
  }
}

function criProxyStatus(criProxy: LazyCriProxy): Pick<AgentStatus, "criProxy"> {
  const status = criProxy.status();
  return status === undefined ? {} : { criProxy: status };
}
