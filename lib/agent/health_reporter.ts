import type { Notifier } from "../platform/mod.ts";
import { type Clock, Deadline, type Observer } from "../model/mod.ts";
import type { HealthView } from "../observability/mod.ts";

/** What {@linkcode reportHealth} is given. */
export interface HealthReporterOptions {
  readonly clock: Clock;
  readonly notifier: Notifier;
  readonly observer: Observer;
  readonly health: () => HealthView;
  readonly signal: AbortSignal;
}

const REPORT_EVERY_MS = 5_000;

/**
 * Says how the node stands, in the same one sentence everywhere: to the supervisor whenever the
 * words change, to the log when the level or the kind of trouble does. As long as the loop turns,
 * the supervisor's watchdog hears so. Ends with `signal`, or by being disposed.
 */
export function reportHealth(options: HealthReporterOptions): Disposable {
  const { clock, notifier, observer, health } = options;
  const ended = new Deadline(undefined, options.signal);
  const { signal } = ended;
  const everyMs = Math.min(notifier.watchdogIntervalMs ?? REPORT_EVERY_MS, REPORT_EVERY_MS);
  const turn = async () => {
    let told = "";
    let logged: string | undefined;
    while (true) {
      await clock.sleep(everyMs, { signal });
      const { live, summary, level, about } = health();
      if (about !== "starting" && logged !== `${level} ${about}`) {
        logged = `${level} ${about}`;
        observer.notify({ kind: "health-changed", level, about, summary });
      }
      if (live) await notifier.watchdog();
      if (summary !== told) await notifier.status(summary);
      told = summary;
    }
  };
  turn().catch(() => {}).finally(() => ended[Symbol.dispose]()); // it ends by being aborted
  return { [Symbol.dispose]: () => ended.abort() };
}
