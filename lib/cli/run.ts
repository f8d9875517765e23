import { BUILD_INFO } from "../assets/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { createNotifier, listenTcp, type Notifier } from "../edge/mod.ts";
import {
  type AgentStatus,
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
  HealthMemory,
  type HealthView,
  ImageHistory,
  type Log,
  openApp,
  SourceBook,
} from "../report/mod.ts";
import { type Agent, createAgent } from "./agent.ts";
import { type Context, EXIT, type Flags, loadConfig } from "./context.ts";
import { apiAgent } from "./api_agent.ts";
import { ServedApi } from "./served_api.ts";
import { tellHealth } from "./health_teller.ts";

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
  const sources = new SourceBook(clock.wallMs);
  const observers: Observer[] = [log, history, sources];
  const observer = fanOut(observers);
  tellConfig(config, observer);
  await using stack = new AsyncDisposableStack();
  const warn = (text: string) => observer.notify({ kind: "warning", code: "notify", text });
  const notifier = stack.use(createNotifier(host.env, { warn, pid: host.pid }));
  const agent = stack.use(await createAgent(context, config, observer));
  const metrics = newMetrics(context, agent);
  observers.push(metrics);
  observer.notify({ kind: "config-loaded", hash: config.hash, files: config.files });

  const served = new Served(context, { agent, metrics, history, sources });
  stack.use(served);
  await served.listen(config);

  const status = () => served.status();
  const api = stack.use(
    new ServedApi(context, observer, apiAgent(context, { ...agent.api, status, log })),
  );
  await api.apply(config);

  const stop = new AbortController();
  const reload = new Reloads(context, flags, config, {
    agent,
    log,
    served,
    apply: (next) => api.apply(next),
    observer,
    notifier,
  });
  stack.use(host.onSignal(["SIGTERM", "SIGINT", "SIGHUP"], (name) => {
    if (name === "SIGHUP") void reload.again();
    else stop.abort(new DOMException(`received ${name}`, "AbortError"));
  }));
  const health = () => served.health();
  stack.use(tellHealth({ clock, notifier, observer, health, signal: stop.signal }));
  await agent.run({ signal: stop.signal, ready: () => void notifier.ready(health().sentence) });
  await notifier.stopping();
  return EXIT.ok;
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

function tellConfig({ warnings }: AgentConfig, observer: Observer): void {
  for (const warning of warnings) {
    observer.notify({ kind: "warning", code: "config", text: formatProblem(warning) });
  }
}

/** What the HTTP server tells of. */
interface Told {
  readonly agent: Agent;
  readonly metrics: AgentMetrics;
  readonly history: ImageHistory;
  readonly sources: SourceBook;
}

/** The HTTP server, wherever the configuration in force puts it. */
class Served implements AsyncDisposable {
  readonly #context: Context;
  readonly #told: Told;
  readonly #memory = new HealthMemory();
  #listening: AsyncDisposable | undefined;
  #address: string | undefined;
  #refusedConfig: readonly string[] = [];
  #checkIntervalMs = 0;

  constructor(context: Context, told: Told) {
    this.#context = context;
    this.#told = told;
  }

  /** Listens where `config` says; what listened elsewhere ends only after that has worked. */
  async listen({ server, renewal }: AgentConfig): Promise<void> {
    this.#checkIntervalMs = renewal.checkIntervalMs;
    const address = server && `${server.hostname} ${server.port}`;
    if (address === this.#address) return;
    const next = server && await listenTcp(server, (await this.#app(server.hostname)).fetch);
    await this.#listening?.[Symbol.asyncDispose]();
    this.#listening = next;
    this.#address = address;
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
    const { agent, sources } = this.#told;
    const refusedConfig = this.#refusedConfig;
    return {
      ...agent.status(),
      ...sources.status(),
      ...(refusedConfig.length > 0 && { refusedConfig }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listening?.[Symbol.asyncDispose]();
  }

  #app(hostname: string) {
    const { metrics, history } = this.#told;
    return openApp({
      metrics,
      status: () => this.#agentStatus(),
      health: () => this.health(),
      history: (image) => history.of(image),
      allowedHosts: [hostname],
    });
  }
}

/** What a reload changes. */
interface Reloadable {
  readonly agent: Agent;
  readonly log: Log;
  readonly served: Served;
  /** Moves what else is served. */
  readonly apply: (config: AgentConfig) => Promise<void>;
  readonly observer: Observer;
  readonly notifier: Notifier;
}

/** Reloads, one after another. However fast the signals come, no more than one waits. */
class Reloads {
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
      tellConfig(config, observer);
      served.setRefusedConfig([]);
      const { hash, files } = config;
      observer.notify({ kind: "config-loaded", hash, files, differences });
    } catch (error) {
      const problems = problemsOf(error);
      served.setRefusedConfig(problems);
      observer.notify({ kind: "config-refused", problems });
    }
    await notifier.ready(served.health().sentence);
  }

  /** All of it or nothing. */
  async #apply(config: AgentConfig): Promise<readonly string[]> {
    const { agent, log, served, apply } = this.#parts;
    await served.listen(config);
    let differences: readonly string[];
    try {
      differences = await agent.reconfigure(config);
    } catch (error) {
      await served.listen(this.#inForce);
      throw error;
    }
    await apply(config);
    log.setLevel(config.log.level);
    return differences;
  }
}

function problemsOf(error: unknown): readonly ConfigProblem[] {
  if (error instanceof ConfigError) return error.problems;
  return [{ file: "the new configuration", place: "", problem: messageOf(error), mend: "" }];
}
