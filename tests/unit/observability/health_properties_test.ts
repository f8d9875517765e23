/** Properties of the status summary: the worst finding always determines it. */
import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { type AgentStatus, defined, type ImageStatus } from "../../../lib/model/mod.ts";
import { findingsOf } from "../../../lib/observability/health.ts";
import { problemsOf } from "../../../lib/observability/problems.ts";
import { createApp } from "../../../lib/observability/app.ts";
import { type HealthLevel, healthOf, type HealthView } from "../../../lib/observability/mod.ts";
import { LABEL_VALUES } from "../../../lib/observability/metrics.ts";
import { daemonOf, imageOf, mountOf, NOW_MS, statusOf } from "./status_of.ts";

const RANK: Readonly<Record<HealthLevel, number>> = { ok: 0, warning: 1, critical: 2 };
const lastFailure = { reason: "plugin-failed", detail: "it failed", atMs: NOW_MS } as const;

const image: fc.Arbitrary<ImageStatus> = fc.record({
  name: fc.integer({ min: 0, max: 20 }),
  window: fc.constantFrom("fresh", "advisory", "mandatory", "expired", "unknown-lifetime"),
  provider: fc.constantFrom("kubelet", "docker", "adopted", undefined),
  failures: fc.nat(3),
  lifetimeMs: fc.option(fc.integer({ min: -100_000, max: 10_000_000 }), { nil: undefined }),
}).map(({ name, window, provider, failures, lifetimeMs }) => {
  const { provider: _, ...bare } = imageOf(`registry.example/app:${name}`, { window, failures });
  return {
    ...bare,
    ...defined({ provider }),
    ...(failures > 0 && { lastFailure }),
    ...(lifetimeMs !== undefined && { expiresAtMs: NOW_MS + lifetimeMs }),
  };
});

const daemon = fc.record({
  name: fc.integer({ min: 0, max: 20 }),
  state: fc.constantFrom(...LABEL_VALUES.daemonStates),
  mounts: fc.array(
    fc.record({
      delivery: fc.constantFrom(...LABEL_VALUES.deliveryStates),
      file: fc.constantFrom("written", "unchanged", "failed", "skipped", "absent"),
      behindSinceMs: maybe(fc.integer({ min: NOW_MS - 10_000_000, max: NOW_MS })),
      readsFailingSinceMs: maybe(fc.integer({ min: NOW_MS - 100_000, max: NOW_MS })),
      unapprovedHosts: maybe(fc.constant(["mirror:5000"])),
    }),
    { maxLength: 4 },
  ),
}).map(({ name, state, mounts }) =>
  daemonOf(`d${name}`, mounts.map((mount, i) => mountOf(String(i), defined(mount))), { state })
);

function maybe<T>(some: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.option(some, { nil: undefined, freq: 3 });
}

const watch = fc.constantFrom("secrets", "pods").map((subject) =>
  ({ subject, reason: "source-unreachable", detail: "no route" }) as const
);

const criProxy: fc.Arbitrary<AgentStatus["criProxy"]> = maybe(
  fc.constantFrom("in-path", "bypassed", "not-serving", "switched-off").map((state) => ({
    state,
    socket: "/run/cri.sock",
    link: "/run/link.sock",
    connections: 0,
    idleSinceMs: NOW_MS - 3_600_000,
    restoredImages: 0,
  } as unknown as NonNullable<AgentStatus["criProxy"]>)),
);

const problem = fc.constantFrom("/a", "/b").map((subject) =>
  ({ source: "root", subject, detail: "not there" }) as const
);

const state: fc.Arbitrary<AgentStatus> = fc.record({
  images: fc.array(image, { maxLength: 6 }),
  daemons: fc.array(daemon, { maxLength: 6 }),
  problems: fc.array(problem, { maxLength: 2 }),
  staleWatches: fc.array(watch, { maxLength: 2 }),
  criProxy,
  loopAgeMs: fc.constantFrom(0, 10_000, 10_000_000),
}).map((parts) => statusOf(defined(parts)));

Deno.test("healthOf: the worst finding determines the level, in any order", () => {
  const areas = new Set<string>();
  fc.assert(
    fc.property(state, (status) => {
      const view = healthOf(status, NOW_MS);
      const findings = findingsOf(status, NOW_MS);
      for (const { area } of findings) areas.add(area);
      const levels = view.findings.map(({ severity }) => RANK[severity]);
      const worst = Math.max(0, ...levels);
      equal(RANK[view.level], worst);
      if (!view.live) return equal(view.about, "loop");
      if (view.findings.length === 0) return equal(view.about, "healthy");
      const reported = findings.filter(({ text }) => view.summary.startsWith(text));
      ok(
        reported.some(({ severity, remedy }) =>
          RANK[severity] === worst && view.summary.endsWith(remedy)
        ),
      );
      // The order of images and daemons does not matter.
      const reversed = {
        ...status,
        images: status.images.toReversed(),
        daemons: status.daemons.toReversed(),
      };
      equal(healthOf(reversed, NOW_MS).level, view.level);
    }),
    { numRuns: 500 },
  );
  const expected = [
    "credentials",
    "cri-proxy",
    "daemons",
    "deliveries",
    "discovery",
    "loop",
    "reads",
    "sources",
  ];
  deepEqual([...areas].sort(), expected, "every area occurred");
});

Deno.test("findingsOf: every problem is in one finding, after its causes, which are as severe", () => {
  fc.assert(
    fc.property(state, (status) => {
      const problems = problemsOf(status, NOW_MS);
      const findings = findingsOf(status, NOW_MS);
      equal(findings.reduce((sum, { count }) => sum + count, 0), problems.length);
      equal(new Set(findings.map(({ key }) => key)).size, findings.length);
      for (const [i, { severity, dependsOn = [] }] of findings.entries()) {
        ok(i === 0 || RANK[findings[i - 1]?.severity ?? "ok"] >= RANK[severity]);
        for (const cause of dependsOn) {
          const causes = findings.slice(0, i).filter(({ code }) => code === cause);
          ok(causes.some((cause) => RANK[cause.severity] >= RANK[severity]), cause);
        }
      }
      ok(findings[0] === undefined || findings[0].dependsOn === undefined);
    }),
    { numRuns: 300 },
  );
});

/** Returns a lower bound of the level, computed without the findings. */
function minimumRank({ images, daemons, problems, staleWatches = [], loopAgeMs = 0 }: AgentStatus) {
  const mounts = daemons.flatMap(({ instances }) => instances);
  const isCritical = loopAgeMs > 180_000 ||
    images.some(({ expiresAtMs = Infinity }) => expiresAtMs <= NOW_MS) ||
    mounts.some(({ readsFailingSinceMs = Infinity }) => NOW_MS - readsFailingSinceMs >= 30_000);
  if (isCritical) return RANK.critical;
  const isWarning = problems.length + staleWatches.length > 0 ||
    images.some(({ provider, failures }) =>
      provider === "adopted" || (provider !== undefined && failures > 0)
    ) ||
    daemons.some(({ state }) => state === "unresponsive" || state === "broken") ||
    mounts.some(({ delivery, behindSinceMs, file, unapprovedHosts = [], readsFailingSinceMs }) =>
      ["refused", "unreachable", "unsupported"].includes(delivery) ||
      (delivery === "file-only" &&
        (behindSinceMs !== undefined || file === "skipped" || file === "absent")) ||
      (delivery === "in-use" && file === "failed") || unapprovedHosts.length > 0 ||
      (readsFailingSinceMs !== undefined && NOW_MS - readsFailingSinceMs >= 10_000)
    );
  return isWarning ? RANK.warning : RANK.ok;
}

Deno.test("healthOf: the level is at least that of each problem in the status", () => {
  fc.assert(
    fc.property(state, (status) => {
      const { level, summary } = healthOf(status, NOW_MS);
      ok(RANK[level] >= minimumRank(status), `${level}: ${summary}`);
      // Each mount alone, so that no other finding hides its own.
      for (const daemon of status.daemons) {
        for (const mount of daemon.instances) {
          const lone = statusOf({ daemons: [{ ...daemon, state: "running", instances: [mount] }] });
          const view = healthOf(lone, NOW_MS);
          ok(RANK[view.level] >= minimumRank(lone), `${JSON.stringify(mount)}: ${view.summary}`);
        }
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("healthOf: another problem does not lower the level", () => {
  fc.assert(
    fc.property(state, image, daemon, (status, oneImage, oneDaemon) => {
      const more = {
        ...status,
        images: [...status.images, oneImage],
        daemons: [...status.daemons, oneDaemon],
      };
      const before = healthOf(status, NOW_MS);
      const after = healthOf(more, NOW_MS);
      ok(RANK[after.level] >= RANK[before.level], `${before.summary}\n${after.summary}`);
    }),
    { numRuns: 500 },
  );
});

Deno.test("createApp: page, JSON and /readyz?verbose have the same summary", async () => {
  await fc.assert(
    fc.asyncProperty(state, async (status) => {
      const health: HealthView = healthOf(status, NOW_MS);
      const app = createApp({
        metrics: { page: () => Promise.resolve({ contentType: "text/plain", body: "" }) },
        status: () => status,
        health: () => health,
        hostname: "127.0.0.1",
        now: () => 0,
      });
      const text = async (path: string) => await (await app.request(path)).text();
      // The text without markup.
      const [, summary = ""] = /<p class="summary[^>]*>([^]*?)<\/p>/.exec(
        (await text("/")).split("<main>")[1] ?? "",
      ) ?? [];
      const shown = summary.replace(/<[^>]+>/g, "").replaceAll("&#39;", "'").replaceAll(
        "&quot;",
        '"',
      );
      equal(shown, `${health.level}: ${health.summary}`);
      equal(JSON.parse(await text("/v1/status")).health.summary, health.summary);
      ok((await text("/readyz?verbose")).includes(`\n${health.level}: ${health.summary}\n`));
    }),
    { numRuns: 50 },
  );
});
