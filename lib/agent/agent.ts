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
import { PushedCredentials, type PushTarget, type ReloadOutcome } from "../providers/mod.ts";
import { Reconciler, type ReconcileStages } from "../reconciler/mod.ts";
import { CandidateSelector, RegistryProbe } from "../verification/mod.ts";
import type { ApiParts } from "./api_backend.ts";
import { defaultNodeName, type OpenChain, openChain } from "./chain.ts";
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
  readonly api: ApiParts;
}

/** Objects that are built from one configuration; a reload replaces all of them. */
interface ConfiguredParts extends AsyncDisposable {
  readonly config: AgentConfig;
  readonly stages: ReconcileStages;
  readonly chain: OpenChain;
  readonly discovery: Discovery;
}

/** Objects that stay the same over reloads. */
interface SharedParts {
  readonly http: ReturnType<typeof createUnixHttp>;
  readonly criProxy: CriProxy;
  readonly pushed: PushedCredentials;
  /** Aborted when the agent stops. */
  readonly signal: AbortSignal;
  /** The loop; undefined while it is built. */
  readonly reconciler: () => Reconciler | undefined;
}

/** Differs between nodes and survives restarts: spreads the renewals of a fleet. */
const MACHINE_ID = "/etc/machine-id";

/** Builds the agent that a configuration describes. */
export async function createAgent(
  context: Context,
  config: AgentConfig,
  observer: Observer,
): Promise<Agent> {
  const { clock, files, random } = context;
  const seed = await files.readText(MACHINE_ID).catch(() => undefined) ?? "";
  const { version } = BUILD_INFO;
  const hostname = await defaultNodeName(context);
  const process = { version, hostname, startedAtMs: clock.wallMs() };
  await removeLeftovers(config, observer);
  await using resources = new AsyncDisposableStack();
  const stop = new AbortController();
  let started: Reconciler | undefined;
  const shared = openShared(context, observer, resources, stop.signal, () => started);
  const { criProxy, pushed } = shared;
  const probe = new RegistryProbe({ http: createRegistryHttp(), clock });
  let current = await buildParts(context, observer, shared, config);
  resources.defer(() => current[Symbol.asyncDispose]());
  const store = new CredentialStore({ settings: config.renewal, seed: seed.trim(), random });
  const verify = () => current.config.delivery.verify;
  const selector = new CandidateSelector({ probe, clock, observer, verify });
  const common = { store, observer, clock, inUseDelayMs, selector };
  const reconciler = started = new Reconciler(common, current.stages);
  resources.defer(() => stop.abort(new DOMException("the agent is stopping", "AbortError")));
  const owned = resources.move();
  return {
    async run(options) {
      await criProxy.apply(current.config.providers.cri);
      await reconciler.run(options);
    },
    async reconfigure(next) {
      const before = current;
      current = await buildParts(context, observer, shared, next, before);
      store.settings = next.renewal;
      reconciler.replace(current.stages);
      await criProxy.apply(next.providers.cri);
      await before[Symbol.asyncDispose]();
      return configDifferences(before.config, next);
    },
    status() {
      return {
        ...reconciler.status(),
        ...defined({ criProxy: criProxy.status() }),
        ...process,
        configHash: current.config.hash,
        checkIntervalMs: current.config.renewal.checkIntervalMs,
        staleWatches: current.chain.staleWatches(),
        enabledProviders: PROVIDER_NAMES.filter((name) => current.config.providers[name].enabled),
      };
    },
    api: {
      config: () => current.config,
      chain: () => current.chain.chain,
      onDemand: reconciler.onDemand,
      pushed,
      reconcile: () => reconciler.trigger("requested"),
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function openShared(
  context: Context,
  observer: Observer,
  resources: AsyncDisposableStack,
  signal: AbortSignal,
  reconciler: SharedParts["reconciler"],
): SharedParts {
  const changed = (target: PushTarget) =>
    reconciler()?.recheck(target.kind === "image" ? target.image : undefined);
  const nodeChanged = () => reconciler()?.trigger("node-changed");
  const onPull = (image: ImageReference) => {
    // A mount of the image is about to appear: discover it before its first reads.
    reconciler()?.recheck(image);
    nodeChanged();
  };
  return {
    http: resources.use(createUnixHttp({ exited: nodeChanged })),
    criProxy: resources.use(new CriProxy(context, observer, onPull)),
    pushed: new PushedCredentials({ clock: context.clock, changed }),
    signal,
    reconciler,
  };
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

/**
 * Builds the parts of a configuration, and watches what they depend on. Takes over the caches of the
 * previous parts.
 */
async function buildParts(
  context: Context,
  observer: Observer,
  { http, criProxy, pushed, signal, reconciler }: SharedParts,
  config: AgentConfig,
  previous?: ConfiguredParts,
): Promise<ConfiguredParts> {
  const { files } = context;
  const { node, delivery, renewal } = config;
  const nydusdApi = createNydusdApi(http);
  const snapshotterApi = createSnapshotterApi(http);
  const hosts = approvedHostsOf(config);
  const discovery = new Discovery({ config: node, hosts, snapshotterApi, nydusdApi, files });
  if (previous !== undefined) discovery.inherit(previous.discovery);
  const changed = (path: string) => {
    observer.notify({ kind: "source-changed", source: "providers", path });
    reconciler()?.recheck();
  };
  await using resources = new AsyncDisposableStack();
  const chain = resources.use(
    await openChain(context, config, observer, {
      pushed,
      signal,
      pulls: criProxy,
      onLateAnswer: (image) => reconciler()?.recheck(image),
      onChange: () => changed("the Kubernetes API"),
      ...defined({ previous: previous?.chain }),
    }),
  );
  const nodePaths = discovery.watchPaths();
  resources.use(files.watch([...chain.watchPaths, ...nodePaths], (path, watched) => {
    if (nodePaths.includes(watched)) reconciler()?.fileTouched(path);
    if (!chain.watchPaths.includes(watched)) return;
    void chain.refresh().then((outcome) => {
      reportReload(outcome, observer);
      changed(path);
    });
  }));
  const { configFiles, unapprovedHostPolicy } = delivery;
  const owned = resources.move();
  return {
    config,
    chain,
    discovery,
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
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
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
