import type { AgentConfig } from "../config/mod.ts";
import { listenTcp } from "../platform/mod.ts";
import {
  type AgentStatus,
  type ConfigProblem,
  formatProblem,
  type Observer,
} from "../model/mod.ts";
import {
  type AgentMetrics,
  HealthTracker,
  type HealthView,
  type ImageHistory,
  openApp,
  type ProviderStats,
} from "../observability/mod.ts";
import type { Agent } from "./agent.ts";
import type { Context } from "../platform/mod.ts";
import { divideDescriptors } from "./descriptor_budget.ts";
import { Listening } from "./listening.ts";

/** What {@linkcode StatusServers} serve. */
export interface StatusSources {
  readonly agent: Agent;
  readonly metrics: AgentMetrics;
  readonly history: ImageHistory;
  readonly sources: ProviderStats;
  readonly observer: Observer;
}

/** The agent's state at a moment, shared by HTTP clients. */
interface Snapshot {
  readonly atMs: number;
  readonly status: AgentStatus;
  readonly health: HealthView;
}

const SNAPSHOT_MS = 100;

/** The HTTP servers for status and metrics, where the configuration in force puts them. */
export class StatusServers implements AsyncDisposable {
  readonly #context: Context;
  readonly #sources: StatusSources;
  readonly #memory = new HealthTracker();
  readonly #page = new Listening();
  readonly #metrics = new Listening();
  #refusedConfig: readonly string[] = [];
  #checkIntervalMs = 0;
  #snapshot: Snapshot | undefined;

  constructor(context: Context, sources: StatusSources) {
    this.#context = context;
    this.#sources = sources;
  }

  /**
   * Listens where `config` says.
   *
   * @throws {AgentError} `io` when an address cannot be had; the listeners before it go on.
   */
  async listen({ server, metricsServer, renewal }: AgentConfig): Promise<void> {
    this.#checkIntervalMs = renewal.checkIntervalMs;
    for (
      const [listening, address, metricsOnly] of [
        [this.#page, server, false],
        [this.#metrics, metricsServer, true],
      ] as const
    ) {
      const endpoint = address && { place: `${address.hostname} ${address.port}` };
      await listening.move(endpoint, () => this.#open(address!, metricsOnly));
    }
  }

  health(): HealthView {
    const checkIntervalMs = this.#checkIntervalMs;
    const nowMs = this.#context.clock.wallMs();
    return this.#memory.view(this.#agentStatus(), nowMs, { checkIntervalMs });
  }

  /** What the local API answers: the same as `/v1/status`. */
  status(): object {
    return { ...this.#agentStatus(), health: this.health() };
  }

  /** What the last reload refused; nothing once one has succeeded. */
  setRefusedConfig(problems: readonly ConfigProblem[]): void {
    this.#refusedConfig = problems.map(formatProblem);
  }

  #agentStatus(): AgentStatus {
    const { agent, sources } = this.#sources;
    const refusedConfig = this.#refusedConfig;
    return {
      ...agent.status(),
      ...sources.status(),
      ...(refusedConfig.length > 0 && { refusedConfig }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#page[Symbol.asyncDispose]();
    await this.#metrics[Symbol.asyncDispose]();
  }

  async #open(
    address: NonNullable<AgentConfig["server"]>,
    metricsOnly: boolean,
  ): Promise<AsyncDisposable> {
    const { host, clock } = this.#context;
    const { metrics, history, observer } = this.#sources;
    const app = await openApp({
      metrics,
      status: () => this.#current().status,
      health: () => this.#current().health,
      history: (image) => history.of(image),
      allowedHosts: [address.hostname],
      now: clock.monotonicMs,
      metricsOnly,
    });
    const { httpConnections: maxConnections } = divideDescriptors(await host.descriptorLimit());
    const place = `${address.hostname} port ${address.port}`;
    const warn = (text: string) =>
      observer.notify({ kind: "warning", code: "server", text: `${place}: ${text}` });
    return await listenTcp(address, app.fetch, { maxConnections, warn });
  }

  /** Computed at most ten times a second, however many clients ask: it grows with the mounts. */
  #current(): Snapshot {
    const atMs = this.#context.clock.monotonicMs();
    if (this.#snapshot === undefined || atMs - this.#snapshot.atMs >= SNAPSHOT_MS) {
      this.#snapshot = { atMs, status: this.#agentStatus(), health: this.health() };
    }
    return this.#snapshot;
  }
}
