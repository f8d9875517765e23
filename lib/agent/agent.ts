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
import { Reconciler } from "../reconciler/mod.ts";
import { CandidateSelector, RegistryProbe } from "../verification/mod.ts";
import { defaultNodeName, type OpenChain, openChain } from "./chain.ts";
import { CriProxy, pullCachePath } from "./cri_proxy.ts";
import { approvedHostsOf } from "./explanation.ts";

/** The agent without its listeners: what `run` owns, and a reload changes. */
export type Agent = Awaited<ReturnType<typeof createAgent>>;

/** Differs between nodes and survives restarts: spreads the renewals of a fleet. */
const MACHINE_ID = "/etc/machine-id";

/** Builds the agent that a configuration describes. */
export async function createAgent(
  context: Context,
  config: AgentConfig,
  observer: Observer,
) {
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
  let current = await buildParts(shared, config);
  resources.defer(() => current[Symbol.asyncDispose]());
  const store = new CredentialStore({ settings: config.renewal, seed: seed.trim(), random });
  const verify = () => current.config.delivery.verify;
  const selector = new CandidateSelector({ probe, clock, observer, verify });
  const common = { store, observer, clock, inUseDelayMs, selector };
  const reconciler = started = new Reconciler(common, current.stages);
  resources.defer(() => stop.abort(new DOMException("the agent is stopping", "AbortError")));
  const owned = resources.move();
  return {
    /**
     * Starts the CRI proxy and reconciles until aborted; calls `ready` after the first reconcile.
     * The proxy starts this late so that an agent that fails to start does not move the CRI link.
     */
    async run(options: { readonly signal: AbortSignal; readonly ready: () => void }) {
      await criProxy.apply(current.config.providers.cri);
      await reconciler.run(options);
    },
    /**
     * Switches to another configuration and keeps the state. Returns the keys that differ.
     *
     * Everything new is built before anything changes; when a later step fails, the current
     * configuration stays in effect.
     */
    async reconfigure(next: AgentConfig): Promise<readonly string[]> {
      const before = current;
      current = await buildParts(shared, next, before);
      store.settings = next.renewal;
      reconciler.replace(current.stages);
      await criProxy.apply(next.providers.cri);
      await before[Symbol.asyncDispose]();
      return configDifferences(before.config, next);
    },
    status(): AgentStatus {
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
    /** Parts that the local API uses. */
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

/**
 * Opens what stays the same over reloads.
 *
 * @param signal Aborted when the agent stops.
 * @param reconciler Returns the loop; undefined while it is built.
 */
function openShared(
  context: Context,
  observer: Observer,
  resources: AsyncDisposableStack,
  signal: AbortSignal,
  reconciler: () => Reconciler | undefined,
) {
  const changed = (target: PushTarget) =>
    reconciler()?.recheck(target.kind === "image" ? target.image : undefined);
  const nodeChanged = () => reconciler()?.trigger("node-changed");
  const onPull = (image: ImageReference) => {
    // A mount of the image is about to appear: discover it before its first reads.
    reconciler()?.recheck(image);
    nodeChanged();
  };
  return {
    context,
    observer,
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
 * Builds the parts of a configuration, which a reload replaces, and watches what they depend on.
 * Takes over the caches of the previous parts.
 */
async function buildParts(
  { context, observer, http, criProxy, pushed, signal, reconciler }: ReturnType<typeof openShared>,
  config: AgentConfig,
  previous?: { readonly chain: OpenChain; readonly discovery: Discovery },
) {
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
      remembered: (image: ImageReference) => criProxy.remembered(image),
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
