import {
  createNydusdApi,
  createSnapshotterApi,
  systemClock,
  systemRandom,
} from "../../lib/platform/mod.ts";
import { Deliverer, inUseDelayMs } from "../../lib/delivery/mod.ts";
import { Discovery } from "../../lib/discovery/mod.ts";
import type { AgentEvent, Clock, Observer } from "../../lib/model/mod.ts";
import { Reconciler } from "../../lib/reconciler/mod.ts";
import { type AgentMetrics, fanOut } from "../../lib/observability/mod.ts";
import { CredentialStore } from "../../lib/credentials/mod.ts";
import { type NodeInMemory, SYSTEM_SOCKET } from "./node_in_memory.ts";
import { type CountedPlugin, kubeletWith } from "./plugin.ts";
import { openReporting } from "./reporting.ts";
import { wholeChain } from "./whole_chain.ts";
import { selectFirst } from "../../tests/fakes/selector.ts";

const SETTINGS = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;

/** Overrides of the defaults. */
export interface AgentInMemoryOptions {
  /** An additional observer. */
  readonly also?: Observer;
  readonly clock?: Clock;
  readonly checkIntervalMs?: number;
}

/** The agent on an in-memory node, with its log and metrics. */
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
  /** Entries renewed so far. */
  renewed = 0;

  constructor(
    node: NodeInMemory,
    plugin: CountedPlugin,
    { also = { notify() {} }, clock = systemClock, checkIntervalMs = 3_600_000 }:
      AgentInMemoryOptions = {},
  ) {
    const reporting = openReporting(() => this.reconciler.status(), clock);
    this.metrics = reporting.metrics;
    const own = { notify: (event: AgentEvent) => this.#onEvent(event) };
    const observer = fanOut([reporting.observer, also, own]);
    const nydusdApi = createNydusdApi(node);
    const snapshotterApi = createSnapshotterApi(node);
    const files = node.files();
    const config = { root: node.root, systemSocket: SYSTEM_SOCKET, daemonMode: "shared" } as const;
    const discoverer = new Discovery({
      config: { ...config, daemons: [] },
      hosts: { vpcRegistry: false, allowedHosts: [] },
      snapshotterApi,
      nydusdApi,
      files,
    });
    const { store } = this;
    this.reconciler = new Reconciler(
      { store, observer, clock, inUseDelayMs, selector: selectFirst },
      {
        discoverer,
        resolver: wholeChain(kubeletWith(plugin, { observer, clock }), observer, clock),
        deliverer: new Deliverer({ nydusdApi, files, fsDriver: "fusedev", configFiles: "never" }),
        readCounter: nydusdApi,
        checkIntervalMs,
        renewalEnabled: true,
      },
    );
  }

  /** Starts the agent; resolves when the first reconcile has finished. */
  async start(): Promise<void> {
    const ready = Promise.withResolvers<void>();
    const { signal } = this.#stop;
    this.#running = this.reconciler.run({ signal, ready: () => ready.resolve() });
    await Promise.race([ready.promise, this.#running]);
  }

  /** Runs one reconcile, and the follow-up work that does not wait for timers. */
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

  #onEvent(event: AgentEvent): void {
    if (event.kind === "credential-renewed") this.renewed++;
    if (event.kind === "reconcile-finished") this.#finished?.();
  }
}
