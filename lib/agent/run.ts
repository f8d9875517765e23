import { BUILD_INFO } from "../assets/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { createNotifier, type Notifier } from "../platform/mod.ts";
import {
  ConfigError,
  type ConfigProblem,
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
import { type Agent, createAgent } from "./agent.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadConfig } from "../config/mod.ts";
import { apiAgent } from "./api_backend.ts";
import { ServedApi } from "./served_api.ts";
import { StatusServers } from "./status_servers.ts";
import { reportUnhandledErrors } from "./unhandled_errors.ts";
import { reportHealth } from "./health_reporter.ts";

/**
 * `run`: the agent, until TERM or INT. HUP reads the configuration again; one that cannot be used
 * is refused, and the one in force goes on.
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
  const sources = new ProviderStats(clock.wallMs);
  const observers: Observer[] = [log, history, sources];
  const observer = fanOut(observers);
  logConfigWarnings(config, observer);
  await using stack = new AsyncDisposableStack();
  // Before anything that takes time: a signal must never end the process without cleanup.
  const stop = new AbortController();
  let reloadIsDue = false;
  let reload = () => void (reloadIsDue = true);
  stack.use(host.onSignal(["SIGTERM", "SIGINT", "SIGHUP"], (name) => {
    if (name === "SIGHUP") reload();
    else stop.abort(new DOMException(`received ${name}`, "AbortError"));
  }));
  let exitCode: number = EXIT.ok;
  stack.use(reportUnhandledErrors(host, observer, () => {
    exitCode = EXIT.failed;
    stop.abort(new DOMException("an error was not handled", "AbortError"));
  }));
  const warn = (text: string) => observer.notify({ kind: "warning", code: "notify", text });
  const notifier = stack.use(createNotifier(host.env, { warn, pid: host.pid }));
  const agent = stack.use(await createAgent(context, config, observer));
  const metrics = newMetrics(context, agent);
  observers.push(metrics);
  observer.notify({ kind: "config-loaded", hash: config.hash, files: config.files });

  const served = new StatusServers(context, { agent, metrics, history, sources, observer });
  stack.use(served);
  await served.listen(config);

  const status = () => served.status();
  const api = stack.use(
    new ServedApi(context, observer, apiAgent(context, { ...agent.api, status, log })),
  );
  await api.apply(config);
  if (stop.signal.aborted) return exitCode;

  const reloads = new Reloads(context, flags, config, {
    agent,
    log,
    served,
    apply: (next) => api.apply(next),
    observer,
    notifier,
  });
  reload = () => void reloads.again();
  if (reloadIsDue) reload();
  const health = () => served.health();
  stack.use(reportHealth({ clock, notifier, observer, health, signal: stop.signal }));
  await agent.run({ signal: stop.signal, ready: () => void notifier.ready(health().summary) });
  await notifier.stopping();
  return exitCode;
}

function newMetrics({ host, clock }: Context, agent: Agent): AgentMetrics {
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

/** What a reload changes. */
export interface Reloadable {
  readonly agent: Pick<Agent, "reconfigure">;
  readonly log: Pick<Log, "setLevel">;
  readonly served: Pick<StatusServers, "listen" | "health" | "setRefusedConfig">;
  /** Moves what else is served. */
  readonly apply: (config: AgentConfig) => Promise<void>;
  readonly observer: Observer;
  readonly notifier: Pick<Notifier, "reloading" | "ready">;
}

/** Reloads, one after another. However fast the signals come, no more than one waits. */
export class Reloads {
  readonly #context: Context;
  readonly #flags: Flags;
  readonly #parts: Reloadable;
  #inForce: AgentConfig;
  #running: Promise<void> = Promise.resolve();
  #waiting: Promise<void> | undefined;

  constructor(context: Context, flags: Flags, first: AgentConfig, parts: Reloadable) {
    this.#context = context;
    this.#flags = flags;
    this.#parts = parts;
    this.#inForce = first;
  }

  again(): Promise<void> {
    this.#waiting ??= this.#running.then(() => {
      this.#waiting = undefined; // files may change from here on without being seen
      this.#running = this.#reload();
      return this.#running;
    });
    return this.#waiting;
  }

  async #reload(): Promise<void> {
    const { observer, notifier, served } = this.#parts;
    await notifier.reloading();
    try {
      const config = await loadConfig(this.#context, this.#flags);
      const differences = await this.#apply(config);
      this.#inForce = config;
      logConfigWarnings(config, observer);
      served.setRefusedConfig([]);
      const { hash, files } = config;
      observer.notify({ kind: "config-loaded", hash, files, differences });
    } catch (error) {
      const problems = problemsOf(error);
      served.setRefusedConfig(problems);
      observer.notify({ kind: "config-refused", problems });
    }
    await notifier.ready(served.health().summary);
  }

  /** All of it or nothing: what was applied when a step fails is undone. */
  async #apply(config: AgentConfig): Promise<readonly string[]> {
    const { agent, log, served, apply } = this.#parts;
    const inForce = this.#inForce;
    await using undo = new AsyncDisposableStack();
    undo.defer(() => served.listen(inForce));
    await served.listen(config);
    const differences = await agent.reconfigure(config);
    undo.defer(async () => void await agent.reconfigure(inForce));
    undo.defer(() => apply(inForce));
    await apply(config);
    log.setLevel(config.log.level);
    undo.move();
    return differences;
  }
}

function problemsOf(error: unknown): readonly ConfigProblem[] {
  if (error instanceof ConfigError) return error.problems;
  return [{ file: "the new configuration", place: "", problem: messageOf(error), remedy: "" }];
}
