import { dirname } from "@std/path";
import { type ApiAgent, loadApi } from "../api/mod.ts";
import { BUILD_INFO, GUIDES } from "../assets/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import {
  AgentError,
  type AgentStatus,
  type ConfigProblem,
  defined,
  type FileSystem,
  formatProblem,
  messageOf,
  type Observer,
} from "../model/mod.ts";
import {
  type AgentMetrics,
  HealthTracker,
  type HealthView,
  type ImageHistory,
  openApp,
  type ProviderStats,
  statusDocument,
} from "../observability/mod.ts";
import { type Context, type Handler, listenTcp, listenUnix } from "../platform/mod.ts";

/** Where a listener binds. */
export interface ListenEndpoint {
  /** An address or a socket path; only one listener can bind it at a time. */
  readonly address: string;
  /** Other settings that require a new listener when they change. */
  readonly settings?: unknown;
}

/**
 * Holds at most one listener, and replaces it when the configuration changes.
 *
 * Invariant: callers await each call before the next one.
 */
export class ReconfigurableListener implements AsyncDisposable {
  #listener: AsyncDisposable | undefined;
  #endpoint: ListenEndpoint | undefined;

  /**
   * Binds an endpoint, or none. The previous listener is closed once `open` has succeeded, or
   * before when both have the same address.
   *
   * @throws What `open` throws. The previous listener then stays, unless it had to be closed first.
   */
  async rebind(
    endpoint: ListenEndpoint | undefined,
    open: () => Promise<AsyncDisposable>,
  ): Promise<void> {
    const isBound = endpoint === undefined || this.#listener !== undefined;
    if (isBound && JSON.stringify(endpoint) === JSON.stringify(this.#endpoint)) return;
    if (endpoint === undefined || endpoint.address === this.#endpoint?.address) {
      await this[Symbol.asyncDispose]();
    }
    const next = endpoint && await open();
    await this[Symbol.asyncDispose]();
    this.#listener = next;
    this.#endpoint = endpoint;
  }

  /** The address that the listener is bound to. */
  get address(): string | undefined {
    return this.#endpoint?.address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    this.#endpoint = undefined;
    await listener?.[Symbol.asyncDispose]();
  }
}

/** Maximum number of connections of each listener. */
export interface DescriptorBudget {
  /** For each HTTP server. */
  readonly httpConnections: number;
  /** For the CRI proxy; each connection takes two descriptors. */
  readonly criConnections: number;
}

const MAX_HTTP_CONNECTIONS = 128;
/** The documented limit of the CRI proxy. */
export const MAX_CRI_CONNECTIONS = 1_024;

/**
 * Divides the process's file descriptors: 3/8 for the CRI proxy, 1/4 for at most three HTTP servers,
 * and 3/8 stay reserved for the agent's own work (daemons, registries, plugins, files).
 */
export function divideDescriptors(limit: number): DescriptorBudget {
  return {
    httpConnections: Math.max(4, Math.min(MAX_HTTP_CONNECTIONS, Math.floor(limit / 12))),
    criConnections: Math.max(4, Math.min(MAX_CRI_CONNECTIONS, Math.floor(limit * 3 / 16))),
  };
}

/** Data that {@linkcode StatusServers} serve. */
export interface StatusSources {
  readonly agent: { status(): AgentStatus };
  readonly metrics: AgentMetrics;
  readonly history: ImageHistory;
  readonly stats: ProviderStats;
  readonly observer: Observer;
}

/** The agent's state at one moment, shared by HTTP clients. */
interface Snapshot {
  readonly atMs: number;
  readonly status: AgentStatus;
  readonly health: HealthView;
}

const SNAPSHOT_MS = 100;

/** HTTP servers for the status page and the metrics, at the configured addresses. */
export class StatusServers implements AsyncDisposable {
  readonly #context: Context;
  readonly #sources: StatusSources;
  readonly #tracker = new HealthTracker();
  readonly #page = new ReconfigurableListener();
  readonly #metrics = new ReconfigurableListener();
  #configProblems: readonly string[] = [];
  #snapshot: Snapshot | undefined;

  constructor(context: Context, sources: StatusSources) {
    this.#context = context;
    this.#sources = sources;
  }

  /**
   * Listens at the addresses of a configuration.
   *
   * @throws {AgentError} `io` when an address cannot be bound; the previous listeners stay.
   */
  async listen({ server, metricsServer }: AgentConfig): Promise<void> {
    await this.#bind(this.#page, server, false);
    await this.#bind(this.#metrics, metricsServer, true);
  }

  /** Returns the node's health, as the status page shows it. */
  health(): HealthView {
    return this.#tracker.view(this.#agentStatus(), this.#context.clock.wallMs());
  }

  /** Returns the body of `/v1/status`. */
  status(): object {
    return statusDocument(this.#agentStatus(), this.health());
  }

  /** Records why the last reload was rejected; an empty list when it succeeded. */
  setRefusedConfig(problems: readonly ConfigProblem[]): void {
    this.#configProblems = problems.map(formatProblem);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#page[Symbol.asyncDispose]();
    await this.#metrics[Symbol.asyncDispose]();
  }

  #agentStatus(): AgentStatus {
    const { agent, stats } = this.#sources;
    const refusedConfig = this.#configProblems;
    return {
      ...agent.status(),
      ...stats.status(),
      ...(refusedConfig.length > 0 && { refusedConfig }),
    };
  }

  async #bind(
    listener: ReconfigurableListener,
    address: AgentConfig["server"],
    metricsOnly: boolean,
  ): Promise<void> {
    if (address === undefined) return await listener[Symbol.asyncDispose]();
    const endpoint = { address: `${address.hostname} ${address.port}` };
    await listener.rebind(endpoint, () => this.#open(address, metricsOnly));
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
      guides: GUIDES,
      allowedHosts: [address.hostname],
      now: clock.monotonicMs,
      metricsOnly,
    });
    const { httpConnections: maxConnections } = divideDescriptors(await host.descriptorLimit());
    const name = `${address.hostname} port ${address.port}`;
    const warn = (text: string) =>
      observer.notify({ kind: "warning", code: "server", text: `${name}: ${text}` });
    return listenTcp(address, app.fetch, { maxConnections, warn });
  }

  /** Computes the state at most ten times per second, regardless of the number of clients. */
  #current(): Snapshot {
    const atMs = this.#context.clock.monotonicMs();
    if (this.#snapshot === undefined || atMs - this.#snapshot.atMs >= SNAPSHOT_MS) {
      this.#snapshot = { atMs, status: this.#agentStatus(), health: this.health() };
    }
    return this.#snapshot;
  }
}

/** Serves the local API on the configured unix socket. */
export class LocalApiServer implements AsyncDisposable {
  readonly #context: Context;
  readonly #observer: Observer;
  readonly #agent: ApiAgent;
  readonly #listener = new ReconfigurableListener();
  #app: Promise<{ fetch: Handler }> | undefined;

  constructor(context: Context, observer: Observer, agent: ApiAgent) {
    this.#context = context;
    this.#observer = observer;
    this.#agent = agent;
  }

  /**
   * Serves according to a configuration. Never rejects: the agent works without the local API, so a
   * failure is only a warning.
   */
  async apply({ api: { socket, group } }: AgentConfig): Promise<void> {
    const endpoint = socket === undefined ? undefined : { address: socket, settings: group };
    try {
      await this.#listener.rebind(endpoint, () => this.#listen(socket ?? "", group));
    } catch (error) {
      await this.#listener[Symbol.asyncDispose]();
      this.#warn(
        `failed to serve the local API: ${messageOf(error)}; create the folder of api.socket, ` +
          'choose another one, or set it to "off"',
      );
    }
  }

  /** The socket that is served; undefined without one, or after a failure. */
  get socket(): string | undefined {
    return this.#listener.address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener[Symbol.asyncDispose]();
  }

  async #listen(socket: string, group: string | undefined): Promise<AsyncDisposable> {
    const { files, host } = this.#context;
    const gid = group === undefined ? undefined : await groupId(files, group);
    const handler: Handler = async (request) => await (await this.#open()).fetch(request);
    const { httpConnections: maxConnections } = divideDescriptors(await host.descriptorLimit());
    const warn = (text: string) => this.#warn(`${socket}: ${text}`);
    const listener = await listenUnix(socket, handler, defined({ maxConnections, warn, gid }));
    if (gid !== undefined) await this.#warnAboutAccess(listener.path, gid);
    return listener;
  }

  /** Loads the code of the API on the first request. */
  #open(): Promise<{ fetch: Handler }> {
    return this.#app ??= loadApi({ agent: this.#agent, version: BUILD_INFO.version });
  }

  /** Warns when members of the group cannot enter a folder above the socket. */
  async #warnAboutAccess(socket: string, gid: number): Promise<void> {
    for (let folder = dirname(socket);; folder = dirname(folder)) {
      const { mode = 0, gid: owner } = await this.#context.files.stat(folder) ?? {};
      if ((mode & (owner === gid ? 0o010 : 0o001)) === 0) {
        this.#warn(
          `members of the group in api.group cannot enter ${folder}; make it executable for ` +
            "others, or set RuntimeDirectoryMode=0711 in the unit for its own folder (docs/api.md)",
        );
      }
      if (folder === dirname(folder)) return;
    }
  }

  #warn(text: string): void {
    this.#observer.notify({ kind: "warning", code: "api", text });
  }
}

/** The list of local groups. */
const GROUPS = "/etc/group";

/**
 * Returns the number of a local group that is given by name or number.
 *
 * @throws {AgentError} `invalid-config` when there is no such group.
 */
export async function groupId(files: FileSystem, group: string): Promise<number> {
  if (/^[0-9]+$/.test(group)) return Number(group);
  const text = await files.readText(GROUPS) ?? "";
  const line = text.split("\n").find((line) => line.startsWith(`${group}:`));
  const gid = line?.split(":")[2] ?? "";
  if (/^[0-9]+$/.test(gid)) return Number(gid);
  throw new AgentError("invalid-config", `failed to find api.group: ${GROUPS} has no ${group}`);
}
