import type { DaemonState, PeerResult } from "../model/mod.ts";

/** The state that nydusd names, in our words. */
export function stateOf(word: string): DaemonState {
  switch (word.toUpperCase()) {
    case "RUNNING":
      return "running";
    case "INIT":
    case "READY":
      return "starting";
    case "STOPPED":
      return "stopped";
    case "DYING":
    case "DIE":
    case "DESTROYED":
      return "dying";
    default:
      return "broken";
  }
}

/** The state of a daemon that gave no answer, and more words where there are any. */
export function whyDown(
  why: PeerResult<unknown>,
): { readonly state: DaemonState; readonly detail?: string } {
  switch (why.kind) {
    case "no-socket":
      return { state: "no-socket" };
    case "no-listener":
      return { state: "no-listener", detail: "its socket file is left, and nobody listens" };
    case "timed-out":
      return { state: "unresponsive", detail: "it takes connections and does not answer in time" };
    case "refused":
    case "broken":
      return { state: "broken", detail: why.detail };
    case "ok":
      return { state: "broken", detail: "it answers, and says nothing of itself" };
  }
}
