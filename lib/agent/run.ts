import { BUILD_INFO } from "../assets/mod.ts";
import { type AgentConfig, type Flags, loadConfig } from "../config/mod.ts";
import {
  AgentError,
  type Clock,
  ConfigError,
  type ConfigProblem,
  Deadline,
  EXIT,
  formatProblem,
  messageOf,
  type Observer,
  PROVIDER_NAMES,
  sleepToNextTick,
} from "../model/mod.ts";
import {
  AgentMetrics,
  createLog,
  fanOut,
  type HealthView,
  ImageHistory,
  type Log,
  ProviderStats,
} from "../observability/mod.ts";
import { type Context, createNotifier, type Host, type Notifier } from "../platform/mod.ts";
import { type Agent, createAgent } from "./agent.ts";
import { createApiBackend } from "./api_backend.ts";
import { Listeners, NodeHealth } from "./listeners.ts";

/**
 * Runs the agent until SIGTERM or SIGINT, and returns the exit code. SIGHUP reloads the
 * configuration; an invalid one is rejected and the current one stays in effect.
 */
export async function run(context: Context, flags: Flags): Promise<number> {
  const { host, clock } = context;
  const startedMs = clock.monotonicMs();
  const config = await loadConfig(context, flags);
  const log = createLog({
    write: (line) => host.err(`${line}\n`),
    level: config.log.level,
    format: config.log.format,
    now: clock.wallMs,
    priorities: host.stderrIsJournal,
  });
  try {
    const { exitCode, reason } = await serve(context, flags, config, log);
    const uptimeMs = Math.round(clock.monotonicMs() - startedMs);
    log.notify({ kind: "agent-stopped", reason, uptimeMs });
    return exitCode;
  } catch (error) {
    log.notify({ kind: "agent-failed", detail: messageOf(error) });
    return EXIT.failed;
  }
}

/** Runs the agent until a signal, and releases every resource. Returns how the agent ended. */
async function serve(context: Context, flags: Flags, config: AgentConfig, log: Log) {
  const { host, clock } = context;
  const history = new ImageHistory(clock.wallMs);
  const stats = new ProviderStats(clock.wallMs);
  const observers: Observer[] = [log, history, stats];
  const observer = fanOut(observers);
  logConfigWarnings(config, observer);

  await using resources = new AsyncDisposableStack();
  // Handlers are installed first, so that a signal during startup does not skip the cleanup.
  const stop = new AbortController();
  let exitCode: number = EXIT.ok;
  const end = () => ({ exitCode, reason: messageOf(stop.signal.reason) });
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
  const { version, commit } = BUILD_INFO;
  const metrics = new AgentMetrics({
    status: agent.status,
    build: { version, commit, deno: host.denoVersion },
    now: clock.wallMs,
    process: host,
  });
  observers.push(metrics);
  observer.notify({ kind: "config-loaded", hash: config.hash, files: config.files });
  if (stop.signal.aborted) return end();

  const status = () => ({ ...agent.status(), ...stats.status() });
  const health = new NodeHealth(clock.wallMs, status);
  const api = createApiBackend(context, agent.api, health, log);
  const data = { metrics, history, health, api };
  const listeners = resources.use(new Listeners(context, observer, data));
  await listeners.listen(config);
  if (stop.signal.aborted) return end();

  const parts = { agent, log, listeners, health, observer, notifier };
  const loadAgain = createReload(context, flags, config, parts);
  reload = () => void loadAgain();
  if (isReloadPending) reload();
  const { signal } = stop;
  const observeDelay = (ms: number) => metrics.observeEventLoopDelay(ms);
  const view = () => health.view();
  const reporter = reportHealth({ clock, notifier, observer, health: view, observeDelay, signal });
  observers.push(resources.use(reporter));
  observer.notify({
    kind: "agent-started",
    version,
    commit,
    files: config.files,
    listeners: listeners.addresses,
    providers: PROVIDER_NAMES.filter((name) => config.providers[name].enabled),
  });
  await agent.run({ signal, ready: () => void notifier.ready(view().summary) });
  await notifier.stopping();
  return end();
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
  readonly listeners: Pick<Listeners, "listen">;
  readonly health: Pick<NodeHealth, "view" | "setRefusedConfig">;
  readonly observer: Observer;
  readonly notifier: Pick<Notifier, "reloading" | "ready">;
}

/**
 * Returns a function that reloads the configuration, after a reload that is running. It never rejects.
 *
 * Invariants: reloads run one after another, and at most one waits; a reload takes effect
 * completely or not at all.
 */
export function createReload(
  context: Context,
  flags: Flags,
  initial: AgentConfig,
  { agent, log, listeners, health, observer, notifier }: ReloadableParts,
): () => Promise<void> {
  let current = initial;
  let running: Promise<void> = Promise.resolve();
  let waiting: Promise<void> | undefined;
  /** When a step fails, the listeners return to the current configuration. */
  const apply = async (config: AgentConfig) => {
    try {
      await listeners.listen(config);
      const differences = await agent.reconfigure(config);
      log.setLevel(config.log.level);
      return differences;
    } catch (error) {
      await listeners.listen(current);
      throw error;
    }
  };
  const load = async () => {
    await notifier.reloading();
    try {
      const config = await loadConfig(context, flags);
      const differences = await apply(config);
      current = config;
      logConfigWarnings(config, observer);
      health.setRefusedConfig([]);
      const { hash, files } = config;
      observer.notify({ kind: "config-loaded", hash, files, differences });
    } catch (error) {
      const problems = problemsOf(error);
      health.setRefusedConfig(problems);
      observer.notify({ kind: "config-refused", problems });
    }
    await notifier.ready(health.view().summary);
  };
  return () =>
    waiting ??= running.then(() => {
      waiting = undefined; // a later request may refer to files that change from here on
      return running = load();
    });
}

function problemsOf(error: unknown): readonly ConfigProblem[] {
  if (error instanceof ConfigError) return error.problems;
  return [{ file: "the new configuration", place: "", problem: messageOf(error), remedy: "" }];
}

/** Dependencies of {@linkcode reportHealth}. */
export interface HealthReporterOptions {
  readonly clock: Clock;
  readonly notifier: Notifier;
  readonly observer: Observer;
  readonly health: () => HealthView;
  /** Called with the delay of each timer in ms. */
  readonly observeDelay?: (ms: number) => void;
  readonly signal: AbortSignal;
}

const REPORT_INTERVAL_MS = 4_800;
/** Without events; liveness and the times in the summary change all the same. */
const MAX_HEALTH_AGE_MS = 24_000;

/**
 * Reports the node's health: to the service manager when the summary changes, to the log when the
 * level or the topic changes. Notifies the watchdog while the reconcile loop makes progress. Ends
 * with `signal` or when it is disposed. Computes the health again after an event that the returned
 * observer gets, and every 24 seconds.
 */
export function reportHealth(options: HealthReporterOptions): Observer & Disposable {
  const { clock, notifier, observer, health, observeDelay } = options;
  const ended = new Deadline(undefined, options.signal);
  const { signal } = ended;
  const intervalMs = Math.min(
    notifier.watchdogIntervalMs ?? REPORT_INTERVAL_MS,
    REPORT_INTERVAL_MS,
  );
  let current: HealthView | undefined;
  const report = async () => {
    let reported = "";
    let logged: string | undefined;
    let computedAtMs = 0;
    while (true) {
      const delayMs = await sleepToNextTick(clock, intervalMs, { signal });
      observeDelay?.(delayMs);
      const nowMs = clock.monotonicMs();
      if (current === undefined || nowMs - computedAtMs >= MAX_HEALTH_AGE_MS) {
        current = health();
        computedAtMs = nowMs;
      }
      const { live, summary, level, about } = current;
      if (about !== "starting" && logged !== `${level} ${about}`) {
        logged = `${level} ${about}`;
        observer.notify({ kind: "health-changed", level, about, summary });
      }
      if (live) await notifier.watchdog();
      if (summary !== reported) await notifier.status(summary);
      reported = summary;
    }
  };
  report().catch(() => {}).finally(() => ended[Symbol.dispose]()); // rejects only when aborted
  return {
    notify: () => void (current = undefined),
    [Symbol.dispose]: () => ended.abort(),
  };
}

/**
 * Logs errors that no code handled. The agent survives a rejected promise. An error that was thrown
 * outside of a promise may leave state half changed: `stop` is then called, so that the agent exits
 * cleanly and the service manager restarts it.
 */
export function reportUnhandledErrors(
  host: Host,
  observer: Observer,
  stop: () => void,
): Disposable {
  return host.onUnhandledError((error, isFatal) => {
    const text = `unhandled error, please report it: ${traceOf(error)}`;
    observer.notify({ kind: "warning", code: "unhandled-error", text });
    if (isFatal) stop();
  });
}

/**
 * Returns where an error was thrown. Foreign messages are left out: a parser quotes its input, which
 * may contain a secret.
 */
function traceOf(error: unknown): string {
  if (error instanceof AgentError) return error.message;
  if (!(error instanceof Error)) return "no error object";
  const stack = (error.stack ?? "").replace(error.message, "");
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return [error.name, ...frames.slice(0, 8).map((line) => line.trim())].join(" ");
}
