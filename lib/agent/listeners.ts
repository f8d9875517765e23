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
} from "../observability/mod.ts";
import { type Context, type Handler, listenTcp, listenUnix } from "../platform/mod.ts";

/**
 * Holds at most one listener, and replaces it when the configuration changes.
 *
 * Invariant: callers await each call before the next one.
 */
export class ReconfigurableListener implements AsyncDisposable {
  #bound: { address: string; settings: string; listener: AsyncDisposable } | undefined;

  /**
   * Binds an address or a socket path, or none. The previous listener is closed once `open` has
   * succeeded, or before when both have the same address.
   *
   * @param settings Require a new listener when they change.
   * @throws What `open` throws. The previous listener then stays, unless it had to be closed first.
   */
  async rebind(
    address: string | undefined,
    open: () => Promise<AsyncDisposable>,
    settings = "",
  ): Promise<void> {
    if (this.address === address && this.#bound?.settings === settings) return;
    if (address === undefined || address === this.address) await this[Symbol.asyncDispose]();
    if (address === undefined) return;
    const listener = await open();
    await this[Symbol.asyncDispose]();
    this.#bound = { address, settings, listener };
  }

  /** The address that the listener is bound to. */
  get address(): string | undefined {
    return this.#bound?.address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const bound = this.#bound;
    this.#bound = undefined;
    await bound?.listener[Symbol.asyncDispose]();
  }
}

/** Maximum number of connections of an HTTP server, of which there are at most three. */
const MAX_HTTP_CONNECTIONS = 128;
/** The documented limit of the CRI proxy, whose connections take two descriptors each. */
export const MAX_CRI_CONNECTIONS = 1_024;

/**
 * Returns how many connections a listener accepts with a limit of file descriptors. HTTP servers get
 * 1/4 of them and the CRI proxy 3/8; the rest is reserved for the agent's own work (daemons,
 * registries, plugins, files).
 */
export function connectionLimit(kind: "http" | "cri", descriptors: number): number {
  const [max, share] = kind === "http"
    ? [MAX_HTTP_CONNECTIONS, descriptors / 12]
    : [MAX_CRI_CONNECTIONS, descriptors * 3 / 16];
  return Math.max(4, Math.min(max, Math.floor(share)));
}

/** Data that {@linkcode Listeners} serve. */
export interface ServedData {
  readonly metrics: AgentMetrics;
  readonly history: ImageHistory;
  readonly health: NodeHealth;
  readonly api: ApiAgent;
}

/** The status of the agent and of what it reports to, and the health that follows from it. */
export class NodeHealth {
  readonly #tracker = new HealthTracker();
  readonly #now: () => number;
  readonly #status: () => AgentStatus;
  #refusedConfig: readonly string[] = [];

  /** @param now Returns the wall time in ms. */
  constructor(now: () => number, status: () => AgentStatus) {
    this.#now = now;
    this.#status = status;
  }

  /** Records why the last reload was rejected; an empty list when it succeeded. */
  setRefusedConfig(problems: readonly ConfigProblem[]): void {
    this.#refusedConfig = problems.map(formatProblem);
  }

  status(): AgentStatus {
    const refusedConfig = this.#refusedConfig;
    return { ...this.#status(), ...(refusedConfig.length > 0 && { refusedConfig }) };
  }

  /** Returns the node's health, as the status page shows it. */
  view(): HealthView {
    return this.#tracker.view(this.status(), this.#now());
  }
}

/** The HTTP servers for the status page and the metrics, and the local API on its unix socket. */
export class Listeners implements AsyncDisposable {
  readonly #context: Context;
  readonly #observer: Observer;
  readonly #data: ServedData;
  readonly #page = new ReconfigurableListener();
  readonly #metrics = new ReconfigurableListener();
  readonly #api = new ReconfigurableListener();
  #app: Promise<{ fetch: Handler }> | undefined;

  constructor(context: Context, observer: Observer, data: ServedData) {
    this.#context = context;
    this.#observer = observer;
    this.#data = data;
  }

  /**
   * Listens at the addresses of a configuration.
   *
   * @throws {AgentError} `io` when an HTTP server cannot be bound; the previous one then stays.
   */
  async listen({ server, metricsServer, api }: AgentConfig): Promise<void> {
    await this.#bind(this.#page, server, false);
    await this.#bind(this.#metrics, metricsServer, true);
    await this.#bindApi(api);
  }

  /** The addresses and the socket that are bound. */
  get addresses(): readonly string[] {
    return [this.#page, this.#metrics, this.#api].flatMap(({ address }) => address ?? []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#page[Symbol.asyncDispose]();
    await this.#metrics[Symbol.asyncDispose]();
    await this.#api[Symbol.asyncDispose]();
  }

  async #bind(
    listener: ReconfigurableListener,
    address: AgentConfig["server"],
    metricsOnly: boolean,
  ): Promise<void> {
    if (address === undefined) return await listener[Symbol.asyncDispose]();
    const name = hostAndPort(address);
    await listener.rebind(name, () => this.#openServer(name, address, metricsOnly));
  }

  async #openServer(
    name: string,
    address: NonNullable<AgentConfig["server"]>,
    metricsOnly: boolean,
  ): Promise<AsyncDisposable> {
    const { host, clock } = this.#context;
    const { metrics, history, health } = this.#data;
    const app = await openApp({
      metrics,
      status: () => health.status(),
      health: () => health.view(),
      history: (image) => history.of(image),
      guides: GUIDES,
      hostname: address.hostname,
      now: clock.monotonicMs,
      metricsOnly,
    });
    const maxConnections = connectionLimit("http", await host.descriptorLimit());
    const warn = (text: string) => this.#warn("server", `${name}: ${text}`);
    return listenTcp(address, app.fetch, { maxConnections, warn });
  }

  /** The agent works without the local API, so a failure is only a warning. */
  async #bindApi({ socket, group }: AgentConfig["api"]): Promise<void> {
    try {
      await this.#api.rebind(socket, () => this.#openApi(socket ?? "", group), group);
    } catch (error) {
      await this.#api[Symbol.asyncDispose]();
      this.#warn(
        "api",
        `failed to serve the local API: ${messageOf(error)}; create the folder of api.socket, ` +
          'choose another one, or set it to "off"',
      );
    }
  }

  async #openApi(socket: string, group: string | undefined): Promise<AsyncDisposable> {
    const { files, host } = this.#context;
    const gid = group === undefined ? undefined : await groupId(files, group);
    // The code of the API is loaded on the first request.
    const load = () =>
      this.#app ??= loadApi({ agent: this.#data.api, version: BUILD_INFO.version });
    const handler: Handler = async (request) => await (await load()).fetch(request);
    const maxConnections = connectionLimit("http", await host.descriptorLimit());
    const warn = (text: string) => this.#warn("api", `${socket}: ${text}`);
    const listener = await listenUnix(socket, handler, defined({ maxConnections, warn, gid }));
    if (gid !== undefined) await this.#warnAboutAccess(socket, gid);
    return listener;
  }

  /** Warns when members of the group cannot enter a folder above the socket. */
  async #warnAboutAccess(socket: string, gid: number): Promise<void> {
    for (let folder = dirname(socket);; folder = dirname(folder)) {
      const { mode = 0, gid: owner } = await this.#context.files.stat(folder) ?? {};
      if ((mode & (owner === gid ? 0o010 : 0o001)) === 0) {
        this.#warn(
          "api",
          `members of the group in api.group cannot enter ${folder}; make it executable for ` +
            "others, or set RuntimeDirectoryMode=0711 in the unit for its own folder (docs/api.md)",
        );
      }
      if (folder === dirname(folder)) return;
    }
  }

  #warn(code: "server" | "api", text: string): void {
    this.#observer.notify({ kind: "warning", code, text });
  }
}

/** Returns an address in the notation of URLs. */
export function hostAndPort(
  { hostname, port }: NonNullable<AgentConfig["server"]>,
): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
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
