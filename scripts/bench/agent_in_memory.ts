import {
  createNydusdApi,
  createSnapshotterApi,
  systemClock,
  systemRandom,
} from "../../lib/edge/mod.ts";
import { Deliverer, inUseDelayMs } from "../../lib/deliver/mod.ts";
import { Discovery } from "../../lib/discover/mod.ts";
import type { AgentEvent, Observer } from "../../lib/model/mod.ts";
import { Reconciler } from "../../lib/reconcile/mod.ts";
import { AgentMetrics, createLog, fanOut } from "../../lib/report/mod.ts";
import {
  CredentialChain,
  criProvider,
  disabledProvider,
  type KubeletProvider,
  labelsProvider,
} from "../../lib/resolve/mod.ts";
import { CredentialStore } from "../../lib/store/mod.ts";
import { type NodeInMemory, SYSTEM_SOCKET } from "./node_in_memory.ts";
import { type CountedPlugin, kubeletWith } from "./plugin.ts";

const SETTINGS = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;

/** A chain as an agent has it, with the kubelet provider at work and the others idle. */
export function chainOf(kubelet: KubeletProvider, observer: Observer): CredentialChain {
  return new CredentialChain({
    providers: [
      labelsProvider(systemClock),
      criProvider({ lookup: () => undefined }),
      disabledProvider("docker", true),
      kubelet,
      disabledProvider("kubesecret", true),
    ],
    clock: systemClock,
    observer,
  });
}

/** The agent on a node in memory, with its log and its metrics. */
export class AgentInMemory {
  readonly store = new CredentialStore({
    settings: SETTINGS,
    seed: "bench",
    random: systemRandom,
  });
  readonly metrics: AgentMetrics;
  readonly reconciler: Reconciler;
  readonly #stop = new AbortController();
  #finished: (() => void) | undefined;
  #running: Promise<void> | undefined;
  logBytes = 0;
  /** Entries renewed so far. */
  renewed = 0;

  constructor(node: NodeInMemory, plugin: CountedPlugin, also: Observer = { notify() {} }) {
    const log = createLog({
      write: (line) => void (this.logBytes += line.length),
      level: "info",
      format: "json",
      now: systemClock.wallMs,
    });
    const observers: Observer[] = [log, also, { notify: (event) => this.#heard(event) }];
    const observer = fanOut(observers);
    const nydusdApi = createNydusdApi(node);
    const snapshotterApi = createSnapshotterApi(node);
    const files = node.files();
    const config = { root: node.root, systemSocket: SYSTEM_SOCKET, daemonMode: "shared" } as const;
    const discoverer = new Discovery({
      config: { ...config, daemons: [] },
      snapshotterApi,
      nydusdApi,
      files,
    });
    const { store } = this;
    this.reconciler = new Reconciler(
      { store, observer, clock: systemClock, inUseDelayMs },
      {
        discoverer,
        resolver: chainOf(kubeletWith(plugin, { observer }), observer),
        deliverer: new Deliverer({ nydusdApi, files, fsDriver: "fusedev", configFiles: "never" }),
        readCounter: nydusdApi,
        checkIntervalMs: 3_600_000,
        renewalEnabled: true,
      },
    );
    const status = () => ({
      ...this.reconciler.status(),
      version: "bench",
      startedAtMs: 0,
      configHash: "bench",
    });
    const process = { residentMemoryBytes: () => 0, startedAtMs: 0 };
    const build = { version: "bench", commit: "", deno: Deno.version.deno };
    this.metrics = new AgentMetrics({ status, build, now: systemClock.wallMs, process });
    observers.push(this.metrics);
  }

  /** Starts it; resolves when the first reconcile is done. */
  async start(): Promise<void> {
    const ready = Promise.withResolvers<void>();
    const { signal } = this.#stop;
    this.#running = this.reconciler.run({ signal, ready: () => ready.resolve() });
    await Promise.race([ready.promise, this.#running]);
  }

  /** One tick: a look, the comparison, and whatever follows from it that takes no waiting. */
  async tick(): Promise<void> {
    const finished = new Promise<void>((resolve) => this.#finished = resolve);
    this.reconciler.trigger("requested");
    await finished;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  #heard(event: AgentEvent): void {
    if (event.kind === "credential-renewed") this.renewed++;
    if (event.kind === "reconcile-finished") this.#finished?.();
  }
}
