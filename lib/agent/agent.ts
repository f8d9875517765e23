import { basename, dirname, join } from "@std/path";
import { BUILD_INFO } from "../assets/mod.ts";
import { type AgentConfig, configDifferences } from "../config/mod.ts";
import { CredentialStore } from "../credentials/mod.ts";
import { Deliverer, inUseDelayMs } from "../delivery/mod.ts";
import { Discovery } from "../discovery/mod.ts";
import {
  type AgentStatus,
  defined,
  formatProblem,
  type ImageReference,
  messageOf,
  type Observer,
  PROVIDER_NAMES,
} from "../model/mod.ts";
import {
  type Context,
  createNydusdApi,
  createRegistryHttp,
  createSnapshotterApi,
  createUnixHttp,
  removeTemporaryFiles,
} from "../platform/mod.ts";
import { PushedCredentials, type PushTarget } from "../providers/mod.ts";
import type { ReloadOutcome } from "../providers/exec_plugin/mod.ts";
import { Reconciler, type ReconcileStages } from "../reconciler/mod.ts";
import { CandidateSelector, RegistryProbe } from "../verification/mod.ts";
import type { ApiParts } from "./api_backend.ts";
import { type OpenChain, openChain } from "./chain.ts";
import { CriProxy } from "./cri_proxy.ts";
import { pullCachePath } from "./cri_proxy_link.ts";
import { approvedHostsOf } from "./explanation.ts";

/** The agent without its listeners: what `run` owns, and a reload changes. */
export interface Agent extends AsyncDisposable {
  /**
   * Starts the CRI proxy and reconciles until aborted; calls `ready` after the first reconcile. The
   * proxy starts this late so that an agent that fails to start does not move the CRI link.
   */
  run(options: { readonly signal: AbortSignal; readonly ready: () => void }): Promise<void>;
  /**
   * Switches to another configuration and keeps the state. Returns the keys that differ.
   *
   * Everything new is built before anything changes; when a later step fails, the current
   * configuration stays in effect.
   */
  reconfigure(config: AgentConfig): Promise<readonly string[]>;
  status(): AgentStatus;
  /** Parts that the local API uses. */
  readonly api: Pick<ApiParts, "config" | "chain" | "onDemand" | "pushed" | "reconcile">;
}

/** Objects that are built from one configuration; a reload replaces all of them. */
interface ConfiguredParts extends AsyncDisposable {
  readonly stages: ReconcileStages;
  readonly chain: OpenChain;
  readonly discovery: Discovery;
  readonly nodePaths: readonly string[];
}

/** A configuration and the parts that were built from it. */
interface Configured {
  readonly config: AgentConfig;
  readonly parts: ConfiguredParts;
}

/** Differs between nodes and survives restarts: spreads the renewals of a fleet. */
const MACHINE_ID = "/etc/machine-id";
const HOSTNAME = "/etc/hostname";

/** Builds the agent that a configuration describes. */
export async function createAgent(
  context: Context,
  config: AgentConfig,
  observer: Observer,
): Promise<Agent> {
  const { clock, files, random } = context;
  const seed = await files.readText(MACHINE_ID).catch(() => undefined) ?? "";
  const process = { ...await identityOf(context), startedAtMs: clock.wallMs() };
  await removeLeftovers(config, observer);
  await using resources = new AsyncDisposableStack();
  const stop = new AbortController();
  const recheck = (image?: ImageReference) => reconciler.recheck(image);
  const exited = () => reconciler.trigger("node-changed");
  const shared = openShared(context, observer, resources, { recheck, exited });
  const { criProxy, pushed, probe } = shared;
  const build = partsBuilder(context, observer, { ...shared, signal: stop.signal });
  let current: Configured = { config, parts: await build(config) };
  resources.defer(() => current.parts[Symbol.asyncDispose]());
  const store = new CredentialStore({ settings: config.renewal, seed: seed.trim(), random });
  const verify = () => current.config.delivery.verify;
  const selector = new CandidateSelector({ probe, clock, observer, verify });
  const common = { store, observer, clock, inUseDelayMs, selector };
  const reconciler = new Reconciler(common, current.parts.stages);
  criProxy.onPull((image) => {
    // A mount of the image is about to appear: discover it before its first reads.
    reconciler.recheck(image);
    reconciler.trigger("node-changed");
  });
  const watches = resources.use(new Watches(context, () => current.parts, reconciler, observer));
  watches.update();
  resources.defer(() => stop.abort(new DOMException("the agent is stopping", "AbortError")));
  const use = (next: Configured) => {
    current = next;
    watches.update();
    store.reconfigure(next.config.renewal, clock.wallMs());
    reconciler.replace(next.parts.stages);
  };
  const owned = resources.move();
  return {
    async run(options) {
      await criProxy.apply(current.config.providers.cri);
      await reconciler.run(options);
    },
    async reconfigure(next) {
      const differences = configDifferences(current.config, next);
      const parts = await build(next, current.parts);
      await replace(current, { config: next, parts }, { criProxy, use });
      return differences;
    },
    status() {
      return {
        ...reconciler.status(),
        ...defined({ criProxy: criProxy.status() }),
        ...process,
        ...statusOf(current),
      };
    },
    api: {
      config: () => current.config,
      chain: () => current.parts.chain.chain,
      onDemand: reconciler.onDemand,
      pushed,
      reconcile: () => reconciler.trigger("requested"),
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Objects that stay the same over reloads. */
interface Shared {
  readonly http: ReturnType<typeof createUnixHttp>;
  readonly probe: RegistryProbe;
  readonly criProxy: CriProxy;
  readonly pushed: PushedCredentials;
  readonly onLateAnswer: (image: ImageReference) => void;
}

function openShared(
  context: Context,
  observer: Observer,
  resources: AsyncDisposableStack,
  { recheck, exited }: {
    readonly recheck: (image?: ImageReference) => void;
    readonly exited: () => void;
  },
): Shared {
  const { clock } = context;
  const changed = (target: PushTarget) =>
    recheck(target.kind === "image" ? target.image : undefined);
  return {
    http: resources.use(createUnixHttp({ exited })),
    probe: new RegistryProbe({ http: resources.use(createRegistryHttp()), clock }),
    criProxy: resources.use(new CriProxy(context, observer)),
    pushed: new PushedCredentials({ clock, changed }),
    onLateAnswer: recheck,
  };
}

/** Returns the part of the status that depends on the current configuration. */
function statusOf({ config, parts }: Configured) {
  return {
    configHash: config.hash,
    checkIntervalMs: config.renewal.checkIntervalMs,
    staleWatches: parts.chain.staleWatches(),
    enabledProviders: PROVIDER_NAMES.filter((name) => config.providers[name].enabled),
  };
}

/** Switches between configurations; when a step fails, returns to the one before. */
async function replace(
  from: Configured,
  to: Configured,
  { criProxy, use }: { readonly criProxy: CriProxy; readonly use: (next: Configured) => void },
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

/** Returns the build and the node's name. A compiled binary cannot read the name from `/proc`. */
async function identityOf(
  { host, files }: Context,
): Promise<Pick<AgentStatus, "version" | "hostname">> {
  const { version } = BUILD_INFO;
  const hostname = host.env["NODE_NAME"] ||
    (await files.readText(HOSTNAME).catch(() => undefined))?.trim() || "";
  return hostname === "" ? { version } : { version, hostname };
}

/** Removes temporary files with credentials that a killed agent left behind. */
async function removeLeftovers(
  { node, delivery, providers }: AgentConfig,
  observer: Observer,
): Promise<void> {
  const warn = (text: string) =>
    observer.notify({ kind: "warning", code: "temporary-files", text });
  const remove = async (folder: string, fileName: string, depth: number) => {
    try {
      const count = await removeTemporaryFiles(folder, fileName, depth);
      if (count > 0) warn(`removed ${count} temporary file(s) of a killed agent below ${folder}`);
    } catch (error) {
      warn(messageOf(error));
    }
  };
  // `config/<daemonID>[/<snapshotID>]/config.json`
  if (delivery.configFiles !== "never") await remove(join(node.root, "config"), "config.json", 2);
  const pulls = pullCachePath(providers.cri.socket);
  await remove(dirname(pulls), basename(pulls), 0);
}

/** Returns a function that builds the parts of a configuration. */
function partsBuilder(
  context: Context,
  observer: Observer,
  { http, criProxy, pushed, onLateAnswer, signal }: Shared & { readonly signal: AbortSignal },
): (config: AgentConfig, previous?: ConfiguredParts) => Promise<ConfiguredParts> {
  const nydusdApi = createNydusdApi(http);
  const snapshotterApi = createSnapshotterApi(http);
  const { files } = context;
  return async (config, previous) => {
    const { node, delivery, renewal } = config;
    const hosts = approvedHostsOf(config);
    const discovery = new Discovery({ config: node, hosts, snapshotterApi, nydusdApi, files });
    if (previous !== undefined) discovery.inherit(previous.discovery);
    const chain = await openChain(context, config, observer, {
      pushed,
      onLateAnswer,
      signal,
      pulls: criProxy,
      ...defined({ previous: previous?.chain }),
    });
    const { configFiles, unapprovedHostPolicy } = delivery;
    return {
      chain,
      discovery,
      nodePaths: discovery.watchPaths(),
      stages: {
        discoverer: discovery,
        resolver: chain.chain,
        readCounter: nydusdApi,
        remembered: (image) => criProxy.remembered(image),
        deliverer: new Deliverer({ nydusdApi, files, fsDriver: node.fsDriver, configFiles }),
        checkIntervalMs: renewal.checkIntervalMs,
        renewalEnabled: renewal.enabled,
        unapprovedHostPolicy,
      },
      [Symbol.asyncDispose]: () => chain[Symbol.asyncDispose](),
    };
  };
}

/** Watches files and the Kubernetes API. Events only trigger an earlier reconcile. */
class Watches implements Disposable {
  readonly #context: Context;
  readonly #parts: () => ConfiguredParts;
  readonly #reconciler: Reconciler;
  readonly #observer: Observer;
  #paths = "";
  #open: Disposable | undefined;

  constructor(
    context: Context,
    parts: () => ConfiguredParts,
    reconciler: Reconciler,
    observer: Observer,
  ) {
    this.#context = context;
    this.#parts = parts;
    this.#reconciler = reconciler;
    this.#observer = observer;
  }

  /** Watches what the current parts need; keeps the watches when the paths are the same. */
  update(): void {
    const { files } = this.#context;
    const { chain, nodePaths } = this.#parts();
    chain.onChange(() => this.#sourceChanged("the Kubernetes API"));
    const paths = JSON.stringify([chain.watchPaths, nodePaths]);
    if (paths === this.#paths) return;
    const opened = files.watch([...chain.watchPaths, ...nodePaths], (path, watched) => {
      if (chain.watchPaths.includes(watched)) void this.#fileChanged(path);
      if (nodePaths.includes(watched)) this.#reconciler.fileTouched(path);
    });
    this.#open?.[Symbol.dispose]();
    this.#open = opened;
    this.#paths = paths;
  }

  [Symbol.dispose](): void {
    this.#parts().chain.onChange(() => {});
    this.#open?.[Symbol.dispose]();
  }

  async #fileChanged(path: string): Promise<void> {
    this.#observer.notify({ kind: "source-changed", source: "providers", path });
    reportReload(await this.#parts().chain.refresh(), this.#observer);
    this.#reconciler.recheck();
  }

  #sourceChanged(name: string): void {
    this.#observer.notify({ kind: "source-changed", source: "providers", path: name });
    this.#reconciler.recheck();
  }
}

/** Reports a credential provider configuration that was read again, or rejected. */
function reportReload(outcome: ReloadOutcome, observer: Observer): void {
  if (outcome.kind === "refused") {
    observer.notify({ kind: "config-refused", problems: outcome.problems });
  }
  if (outcome.kind !== "loaded") return;
  for (const warning of outcome.warnings) {
    observer.notify({ kind: "warning", code: "provider-config", text: formatProblem(warning) });
  }
}
