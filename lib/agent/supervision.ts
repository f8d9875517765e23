import { AgentError, type Clock, Deadline, type Observer, sleepToNextTick } from "../model/mod.ts";
import type { HealthView } from "../observability/mod.ts";
import type { Host, Notifier } from "../platform/mod.ts";

/** Dependencies of {@linkcode reportHealth}. */
export interface HealthReporterOptions {
  readonly clock: Clock;
  readonly notifier: Notifier;
  readonly observer: Observer;
  readonly health: () => HealthView;
  readonly signal: AbortSignal;
}

const REPORT_INTERVAL_MS = 4_800;
/** Without events; liveness and the times in the summary change all the same. */
const MAX_AGE_MS = 24_000;

/**
 * Reports the node's health: to the service manager when the summary changes, to the log when the
 * level or the topic changes. Notifies the watchdog while the reconcile loop makes progress. Ends
 * with `signal` or when it is disposed. Computes the health again after an event that the returned
 * observer gets, and every 24 seconds.
 */
export function reportHealth(options: HealthReporterOptions): Observer & Disposable {
  const { clock, notifier, observer, health } = options;
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
      await sleepToNextTick(clock, intervalMs, { signal });
      const nowMs = clock.monotonicMs();
      if (current === undefined || nowMs - computedAtMs >= MAX_AGE_MS) {
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
