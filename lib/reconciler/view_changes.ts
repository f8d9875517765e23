import type { NodeView, Observer } from "../model/mod.ts";

/** Reports which daemons and which discovery problems differ between two discoveries. */
export function reportViewChanges(before: NodeView, after: NodeView, observer: Observer): void {
  reportDaemons(before, after, observer);
  reportProblems(before, after, observer);
}

function reportDaemons(before: NodeView, after: NodeView, observer: Observer): void {
  const known = new Map(before.daemons.map(({ id, state }) => [id, state]));
  for (const { id, state, stateDetail } of after.daemons) {
    const from = known.get(id);
    known.delete(id);
    if (from === state) continue;
    observer.notify({
      kind: "daemon-state-changed",
      daemonId: id,
      to: state,
      ...(from !== undefined && { from }),
      ...(stateDetail !== undefined && { detail: stateDetail }),
    });
  }
  for (const [id, from] of known) {
    observer.notify({ kind: "daemon-state-changed", daemonId: id, from, to: "gone" });
  }
}

function reportProblems(before: NodeView, after: NodeView, observer: Observer): void {
  for (const problem of after.problems) {
    const { source, subject, detail } = problem;
    const isKnown = before.problems.some((known) =>
      known.source === source && known.subject === subject && known.detail === detail
    );
    if (!isKnown) observer.notify({ kind: "discovery-problem", source, subject, detail });
  }
  for (const { source, subject } of before.problems) {
    const persists = after.problems.some((one) => one.source === source && one.subject === subject);
    if (!persists) observer.notify({ kind: "discovery-recovered", source, subject });
  }
}
