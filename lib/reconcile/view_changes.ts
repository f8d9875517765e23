import type { DaemonState, NodeView, Observer } from "../model/mod.ts";

/** Tells the observer what is different from the last look, and nothing else. */
export class ViewChanges {
  #states = new Map<string, DaemonState>();
  #problems = new Map<string, string>();

  tell(view: NodeView, observer: Observer): void {
    this.#tellDaemons(view, observer);
    this.#tellProblems(view, observer);
  }

  #tellDaemons(view: NodeView, observer: Observer): void {
    const states = new Map(view.daemons.map(({ id, state }) => [id, state]));
    for (const { id, state, stateDetail } of view.daemons) {
      const from = this.#states.get(id);
      if (from === state) continue;
      observer.notify({
        kind: "daemon-state-changed",
        daemonId: id,
        to: state,
        ...(from !== undefined && { from }),
        ...(stateDetail !== undefined && { detail: stateDetail }),
      });
    }
    for (const [id, from] of this.#states) {
      if (!states.has(id)) {
        observer.notify({ kind: "daemon-state-changed", daemonId: id, from, to: "gone" });
      }
    }
    this.#states = states;
  }

  #tellProblems(view: NodeView, observer: Observer): void {
    const problems = new Map<string, string>();
    for (const { source, subject, detail } of view.problems) {
      const key = `${source}\0${subject}`;
      problems.set(key, detail);
      if (this.#problems.get(key) === detail) continue;
      observer.notify({ kind: "discovery-problem", source, subject, detail });
    }
    for (const key of this.#problems.keys()) {
      if (problems.has(key)) continue;
      const [source = "", subject = ""] = key.split("\0");
      observer.notify({ kind: "discovery-recovered", source, subject });
    }
    this.#problems = problems;
  }
}
