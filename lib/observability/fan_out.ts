import type { AgentEvent, Observer } from "../model/mod.ts";

/** Tells several observers. One that throws harms neither the others nor the stage that tells. */
export function fanOut(observers: readonly Observer[]): Observer {
  return {
    notify(event: AgentEvent): void {
      for (const observer of observers) {
        try {
          observer.notify(event);
        } catch {
          // An observer has no one to complain to: the log is one of them.
        }
      }
    },
  };
}
