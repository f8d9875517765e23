import { deepEqual, equal, match, ok } from "node:assert/strict";
import { reportHealth, reportUnhandledErrors } from "../../../lib/agent/run.ts";
import { AgentError, type AgentEvent } from "../../../lib/model/mod.ts";
import { createNotifier, systemHost } from "../../../lib/platform/mod.ts";
import type { HealthView } from "../../../lib/observability/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeHost } from "../../fakes/host.ts";
import { FakeObserver } from "../../fakes/observer.ts";

function view(parts: Partial<HealthView> = {}): HealthView {
  const healthy = { live: true, ready: true, level: "ok", about: "healthy" } as const;
  return { ...healthy, checks: [], findings: [], summary: "all is well", ...parts };
}

/** Reports these views one after another; returns what was logged and notified. */
async function report(views: readonly HealthView[]) {
  const clock = new FakeClock();
  const events: AgentEvent[] = [];
  const statuses: string[] = [];
  let beats = 0;
  let index = 0;
  const end = new AbortController();
  using reporting = reportHealth({
    clock,
    signal: end.signal,
    observer: { notify: (event) => events.push(event) },
    health: () => views[index++] ?? view(),
    notifier: {
      watchdogIntervalMs: 2_000,
      ready: () => Promise.resolve(),
      reloading: () => Promise.resolve(),
      stopping: () => Promise.resolve(),
      status: (text: string) => Promise.resolve(void statuses.push(text)),
      watchdog: () => Promise.resolve(void beats++),
    } as unknown as Parameters<typeof reportHealth>[0]["notifier"],
  });
  for (let i = 0; i < views.length; i++) {
    reporting.notify({ kind: "reconcile-finished" } as AgentEvent);
    await clock.advance(2_000);
  }
  end.abort();
  const logged = events.map((event) => event.kind === "health-changed" ? event.summary : "");
  return { logged, statuses, beats };
}

Deno.test("reportHealth: notifies the service manager of each new summary, and logs each new level or topic", async () => {
  const problem = { level: "warning", about: "credentials" } as const;
  const { logged, statuses, beats } = await report([
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

Deno.test("reportHealth: computes the health after an event, and otherwise every 24 seconds", async () => {
  const clock = new FakeClock();
  const computedAtMs: number[] = [];
  const end = new AbortController();
  using reporting = reportHealth({
    clock,
    signal: end.signal,
    observer: { notify() {} },
    health: () => {
      computedAtMs.push(clock.monotonicMs());
      return view();
    },
    notifier: createNotifier({}),
  });
  await clock.advance(28_800);
  deepEqual(computedAtMs, [4_800, 28_800]);
  reporting.notify({ kind: "reconcile-finished" } as AgentEvent);
  await clock.advance(9_600);
  deepEqual(computedAtMs, [4_800, 28_800, 33_600]);
});

Deno.test("reportHealth: stops the watchdog, but not the log, when the loop is stuck", async () => {
  const { logged, beats } = await report([
    view({ live: false, level: "critical", about: "loop", summary: "nothing compared for 9m" }),
    view({ live: false, level: "critical", about: "loop", summary: "nothing compared for 9m" }),
  ]);
  deepEqual([logged, beats], [["nothing compared for 9m"], 0]);
});

function errorStage() {
  const observer = new FakeObserver();
  let callback: (error: unknown, isFatal: boolean) => void = () => {};
  let stops = 0;
  const host = Object.assign(new FakeHost(), {
    onUnhandledError(given: typeof callback) {
      callback = given;
      return { [Symbol.dispose]: () => {} };
    },
  });
  reportUnhandledErrors(host, observer, () => stops++);
  const texts = () => observer.of("warning").map(({ text }) => text);
  return {
    report: (error: unknown, isFatal: boolean) => callback(error, isFatal),
    texts,
    stops: () => stops,
  };
}

Deno.test("reportUnhandledErrors: continues after a rejection, and stops after a thrown error", () => {
  const { report, texts, stops } = errorStage();
  report(new AgentError("io", "read x: EIO"), false);
  equal(stops(), 0);
  report(new TypeError("y"), true);
  equal(stops(), 1);
  equal(texts()[0], "unhandled error, please report it: read x: EIO");
  match(texts()[1] ?? "", /: TypeError at .*run_test\.ts/);
});

Deno.test("reportUnhandledErrors: omits foreign messages, which may contain secrets", () => {
  const { report, texts } = errorStage();
  report(
    new SyntaxError("Unexpected token 'h', \"hunter2\" is not valid JSON\n at hunter2"),
    false,
  );
  report("hunter2", false);
  report({ password: "hunter2" }, false);
  equal(texts().length, 3);
  ok(!texts().join().includes("hunter2"), texts().join("\n"));
});

Deno.test("systemHost: reports rejections that nothing handled, and reads the limit of files", async () => {
  const host = systemHost();
  const seen = Promise.withResolvers<unknown>();
  {
    using _reporting = host.onUnhandledError((...reported) => seen.resolve(reported));
    void Promise.reject("left alone");
    deepEqual(await seen.promise, ["left alone", false]);
  }
  const limit = await host.descriptorLimit();
  ok(limit >= 256, String(limit));
});
