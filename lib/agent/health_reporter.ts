import type { Notifier } from "../platform/mod.ts";
import { type Clock, Deadline, type Observer } from "../model/mod.ts";
import type { HealthView } from "../observability/mod.ts";

/** What {@linkcode tellHealth} is given. */
export interface HealthTellerOptions {
  readonly clock: Clock;
  readonly notifier: Notifier;
  readonly observer: Observer;
  readonly health: () => HealthView;
  readonly signal: AbortSignal;
}

const TELL_EVERY_MS = 5_000;

/**
 * Says how the node stands, in the same one sentence everywhere: to the supervisor whenever the
 * words change, to the log when the level or the kind of trouble does. As long as the loop turns,
 * the supervisor's watchdog hears so. Ends with `signal`, or by being disposed.
 */
export function tellHealth(options: HealthTellerOptions): Disposable {
  const { clock, notifier, observer, health } = options;
  const ended = new Deadline(undefined, options.signal);
  const { signal } = ended;
  const everyMs = Math.min(notifier.watchdogIntervalMs ?? TELL_EVERY_MS, TELL_EVERY_MS);
  const turn = async () => {
    let told = "";
    let logged: string | undefined;
    while (true) {
      await clock.sleep(everyMs, { signal });
      const { live, sentence, level, about } = health();
      if (about !== "starting" && logged !== `${level} ${about}`) {
        logged = `${level} ${about}`;
        observer.notify({ kind: "health-changed", level, about, sentence });
      }
      if (live) await notifier.watchdog();
      if (sentence !== told) await notifier.status(sentence);
      told = sentence;
    }
  };
  turn().catch(() => {}).finally(() => ended[Symbol.dispose]()); // it ends by being aborted
  return { [Symbol.dispose]: () => ended.abort() };
}
