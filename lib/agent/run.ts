import { BUILD_INFO } from "../assets/mod.ts";
import { type AgentConfig, type Flags, loadConfig } from "../config/mod.ts";
import {
  ConfigError,
  type ConfigProblem,
  EXIT,
  formatProblem,
  messageOf,
  type Observer,
} from "../model/mod.ts";
import {
  AgentMetrics,
  createLog,
  fanOut,
  ImageHistory,
  type Log,
  ProviderStats,
} from "../observability/mod.ts";
import { type Context, createNotifier, type Notifier } from "../platform/mod.ts";
import { type Agent, createAgent } from "./agent.ts";
import { createApiBackend } from "./api_backend.ts";
import { LocalApiServer, StatusServers } from "./listeners.ts";
import { reportHealth, reportUnhandledErrors } from "./supervision.ts";

/**
 * Runs the agent until SIGTERM or SIGINT, and returns the exit code. SIGHUP reloads the
 * configuration; an invalid one is rejected and the current one stays in effect.
 */
export async function run(context: Context, flags: Flags): Promise<number> {
  const { host, clock } = context;
  const config = await loadConfig(context, flags);
  const log = createLog({
    write: (line) => host.err(`${line}\n`),
    level: config.log.level,
    format: config.log.format,
    now: clock.wallMs,
    priorities: host.stderrIsJournal,
  });
  const history = new ImageHistory(clock.wallMs);
  const stats = new ProviderStats(clock.wallMs);
  const observers: Observer[] = [log, history, stats];
  const observer = fanOut(observers);
  logConfigWarnings(config, observer);

  await using resources = new AsyncDisposableStack();
  // Handlers are installed first, so that a signal during startup does not skip the cleanup.
  const stop = new AbortController();
  let exitCode: number = EXIT.ok;
  let isReloadPending = false;
  let reload = () => void (isReloadPending = true);
  resources.use(host.onSignal(["SIGTERM", "SIGINT", "SIGHUP"], (name) => {
    if (name === "SIGHUP") reload();
    else stop.abort(new DOMException(`received ${name}`, "AbortError"));
  }));
  resources.use(reportUnhandledErrors(host, observer, () => {
    exitCode = EXIT.failed;
    stop.abort(new DOMException("an error was not handled", "AbortError"));
  }));
  const warn = (text: string) => observer.notify({ kind: "warning", code: "notify", text });
  const notifier = resources.use(createNotifier(host.env, { warn, pid: host.pid }));

  const agent = resources.use(await createAgent(context, config, observer));
  const metrics = createMetrics(context, agent);
  observers.push(metrics);
  observer.notify({ kind: "config-loaded", hash: config.hash, files: config.files });
  if (stop.signal.aborted) return exitCode;

  const servers = resources.use(
    new StatusServers(context, { agent, metrics, history, stats, observer }),
  );
  await servers.listen(config);
  if (stop.signal.aborted) return exitCode;

  const backend = createApiBackend(context, { ...agent.api, status: () => servers.status(), log });
  const api = resources.use(new LocalApiServer(context, observer, backend));
  await api.apply(config);
  if (stop.signal.aborted) return exitCode;

  const parts = { agent, log, servers, api, observer, notifier };
  const reloader = new Reloader(context, flags, config, parts);
  reload = () => void reloader.reload();
  if (isReloadPending) reload();
  const health = () => servers.health();
  const { signal } = stop;
  observers.push(resources.use(reportHealth({ clock, notifier, observer, health, signal })));
  await agent.run({ signal, ready: () => void notifier.ready(health().summary) });
  await notifier.stopping();
  return exitCode;
}

function createMetrics({ host, clock }: Context, agent: Agent): AgentMetrics {
  const { version, commit } = BUILD_INFO;
  return new AgentMetrics({
    status: agent.status,
    build: { version, commit, deno: host.denoVersion },
    now: clock.wallMs,
    process: { residentMemoryBytes: host.residentBytes, startedAtMs: agent.status().startedAtMs },
  });
}

function logConfigWarnings({ warnings }: AgentConfig, observer: Observer): void {
  for (const warning of warnings) {
    observer.notify({ kind: "warning", code: "config", text: formatProblem(warning) });
  }
}

/** Parts of the agent that a reload changes. */
export interface ReloadableParts {
  readonly agent: Pick<Agent, "reconfigure">;
  readonly log: Pick<Log, "setLevel">;
  readonly servers: Pick<StatusServers, "listen" | "health" | "setRefusedConfig">;
  readonly api: Pick<LocalApiServer, "apply">;
  readonly observer: Observer;
  readonly notifier: Pick<Notifier, "reloading" | "ready">;
}

/**
 * Reloads the configuration on request.
 *
 * Invariants: reloads run one after another, and at most one waits; a reload takes effect
 * completely or not at all.
 */
export class Reloader {
  readonly #context: Context;
  readonly #flags: Flags;
  readonly #parts: ReloadableParts;
  #current: AgentConfig;
  #running: Promise<void> = Promise.resolve();
  #waiting: Promise<void> | undefined;

  constructor(context: Context, flags: Flags, current: AgentConfig, parts: ReloadableParts) {
    this.#context = context;
    this.#flags = flags;
    this.#parts = parts;
    this.#current = current;
  }

  /** Reloads after a reload that is running; never rejects. */
  reload(): Promise<void> {
    this.#waiting ??= this.#running.then(() => {
      this.#waiting = undefined; // a later request may refer to files that change from here on
      this.#running = this.#load();
      return this.#running;
    });
    return this.#waiting;
  }

  async #load(): Promise<void> {
    const { observer, notifier, servers } = this.#parts;
    await notifier.reloading();
    try {
      const config = await loadConfig(this.#context, this.#flags);
      const differences = await this.#apply(config);
      this.#current = config;
      logConfigWarnings(config, observer);
      servers.setRefusedConfig([]);
      const { hash, files } = config;
      observer.notify({ kind: "config-loaded", hash, files, differences });
    } catch (error) {
      const problems = problemsOf(error);
      servers.setRefusedConfig(problems);
      observer.notify({ kind: "config-refused", problems });
    }
    await notifier.ready(servers.health().summary);
  }

  /** Applies a configuration; steps that succeeded are undone when a later one fails. */
  async #apply(config: AgentConfig): Promise<readonly string[]> {
    const { agent, log, servers, api } = this.#parts;
    const current = this.#current;
    await using undo = new AsyncDisposableStack();
    undo.defer(() => servers.listen(current));
    await servers.listen(config);
    const differences = await agent.reconfigure(config);
    undo.defer(async () => void await agent.reconfigure(current));
    undo.defer(() => api.apply(current));
    await api.apply(config);
    log.setLevel(config.log.level);
    undo.move();
    return differences;
  }
}

function problemsOf(error: unknown): readonly ConfigProblem[] {
  if (error instanceof ConfigError) return error.problems;
  return [{ file: "the new configuration", place: "", problem: messageOf(error), remedy: "" }];
}
