import { deepEqual, equal } from "node:assert/strict";
import { reportHealth } from "../../../lib/agent/health_reporter.ts";
import type { AgentEvent } from "../../../lib/model/mod.ts";
import type { HealthView } from "../../../lib/observability/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";

function view(parts: Partial<HealthView> = {}): HealthView {
  const calm = { live: true, ready: true, checks: [], level: "ok", about: "healthy" } as const;
  return { ...calm, summary: "all is well", ...parts };
}

/** Runs the teller over these views, one a turn; returns what it told whom. */
async function told(views: readonly HealthView[]) {
  const clock = new FakeClock();
  const events: AgentEvent[] = [];
  const statuses: string[] = [];
  let beats = 0;
  let turn = 0;
  const end = new AbortController();
  using _teller = reportHealth({
    clock,
    signal: end.signal,
    observer: { notify: (event) => events.push(event) },
    health: () => views[turn++] ?? view(),
    notifier: {
      active: true,
      watchdogIntervalMs: 2_000,
      ready: () => Promise.resolve(),
      reloading: () => Promise.resolve(),
      stopping: () => Promise.resolve(),
      status: (text: string) => Promise.resolve(void statuses.push(text)),
      watchdog: () => Promise.resolve(void beats++),
    } as unknown as Parameters<typeof reportHealth>[0]["notifier"],
  });
  for (let i = 0; i < views.length; i++) await clock.advance(2_000);
  end.abort();
  const logged = events.map((event) => event.kind === "health-changed" ? event.summary : "");
  return { logged, statuses, beats };
}

Deno.test("tellHealth: the supervisor hears new words, the log another level or kind of trouble", async () => {
  const problem = { level: "warning", about: "credentials" } as const;
  const { logged, statuses, beats } = await told([
    view({ about: "starting", summary: "starting" }),
    view({ summary: "the next renewal is in 3h" }),
    view({ summary: "the next renewal is in 2h" }),
    view({ ...problem, summary: "failed for 1m" }),
    view({ ...problem, summary: "failed for 2m" }),
    view({ ...problem, summary: "failed for 2m" }),
    view({ ...problem, level: "critical", summary: "expired" }),
    view({ summary: "all is well" }),
  ]);
  deepEqual(logged, ["the next renewal is in 3h", "failed for 1m", "expired", "all is well"]);
  deepEqual(statuses, [
    "starting",
    "the next renewal is in 3h",
    "the next renewal is in 2h",
    "failed for 1m",
    "failed for 2m",
    "expired",
    "all is well",
  ]);
  equal(beats, 8);
});

Deno.test("tellHealth: a loop that is stuck gets no beat, and is told all the same", async () => {
  const { logged, beats } = await told([
    view({ live: false, level: "critical", about: "loop", summary: "nothing compared for 9m" }),
    view({ live: false, level: "critical", about: "loop", summary: "nothing compared for 9m" }),
  ]);
  deepEqual([logged, beats], [["nothing compared for 9m"], 0]);
});
