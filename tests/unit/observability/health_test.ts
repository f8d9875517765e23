import { deepEqual, equal, match } from "node:assert/strict";
import type { AgentStatus } from "../../../lib/model/mod.ts";
import { healthOf, HealthTracker } from "../../../lib/observability/mod.ts";
import { problemsOf } from "../../../lib/observability/problems.ts";
import { daemonOf, imageOf, mountOf, NOW_MS, statusOf } from "./status_of.ts";

const IMAGE = "registry.example/app:1";
const HOUR_MS = 3_600_000;

function health(parts: Partial<AgentStatus> = {}, nowMs = NOW_MS) {
  return healthOf(statusOf(parts), nowMs);
}

function starting(upMs: number) {
  const { firstReconcileAtMs: _, lastReconcileAtMs: __, ...rest } = statusOf();
  return healthOf({ ...rest, startedAtMs: NOW_MS - upMs }, NOW_MS);
}

Deno.test("healthOf: reports the number of mounts and the next renewal of a healthy node", () => {
  const view = health({
    images: [imageOf(IMAGE, { nextAttemptAtMs: NOW_MS + 3 * HOUR_MS })],
    daemons: [daemonOf("d", [mountOf("1"), mountOf("2")])],
  });
  equal(view.summary, "all 2 mounts have valid credentials; the next renewal is in 3h");
  deepEqual([view.level, view.live, view.ready], ["ok", true, true]);
  equal(view.checks.every(({ ok }) => ok), true);
});

Deno.test("healthOf: a public image without a credential is no problem", () => {
  const { provider: _, ...bare } = imageOf("docker.io/library/nginx:latest");
  const lastFailure = { reason: "no-secret-matched", detail: "none", atMs: NOW_MS } as const;
  const view = health({
    images: [imageOf(IMAGE), { ...bare, failures: 9, lastFailure }],
    daemons: [daemonOf("d", [mountOf("1"), mountOf("2", { delivery: "none" })])],
  });
  equal(view.level, "ok");
  equal(
    view.summary,
    "1 of 2 mounts have valid credentials, 1 needs none; renewed when a source changes",
  );
  equal(health().summary, "no nydus mounts on this node: nothing to renew");
});

Deno.test("healthOf: warns when there is no credential because a provider fails", () => {
  const { provider: _, ...bare } = imageOf(IMAGE);
  const lastFailure = { reason: "plugin-timeout", detail: "60s", atMs: NOW_MS } as const;
  const view = health({ images: [{ ...bare, failures: 2, lastFailure }] });
  equal(view.level, "warning");
  match(view.summary, /^failed to get a credential for registry\.example\/app:1 after 2 attempts/);
  match(view.summary, /plugin-timeout: 60s\): run: nydus-auth-agent explain registry/);
});

Deno.test("healthOf: warns about a refused configuration and names the one in effect", () => {
  const problems = ["config.toml: line 3: broken TOML", "config.toml: line 9: unknown key"];
  const view = health({ refusedConfig: problems });
  deepEqual([view.level, view.about], ["warning", "configuration"]);
  equal(
    view.summary,
    "failed to reload the configuration; the previous configuration stays in effect: config.toml: " +
      "line 3: broken TOML (and 1 more): fix the configuration (check it with: nydus-auth-agent " +
      "check) and reload the agent",
  );
});

Deno.test("healthOf: an outage outside the agent does not affect liveness and readiness", () => {
  const lastFailure = { reason: "source-unreachable", detail: "no answer", atMs: NOW_MS } as const;
  const view = health({
    images: [imageOf(IMAGE, {
      window: "expired",
      expiresAtMs: NOW_MS - 300_000,
      failures: 7,
      lastFailure,
    })],
    daemons: [
      daemonOf("d", [mountOf("1", { delivery: "unreachable" })], { state: "unresponsive" }),
    ],
    problems: [{ source: "system-api", subject: "/s", detail: "timed out" }],
  });
  deepEqual([view.level, view.live, view.ready], ["critical", true, true]);
  match(view.summary, /^the credential of \S+ expired 5m ago; reads .* \(and 3 more\): run: /);
  deepEqual(
    view.findings.map(({ code, dependsOn }) => [code, dependsOn]),
    [
      ["credential-expired", undefined],
      ["daemon-failing", undefined],
      ["discovery-failed", undefined],
      ["delivery-failed", ["daemon-failing"]],
    ],
  );
  deepEqual(
    view.checks.map(({ name, ok, required }) => [name, ok, required]),
    [
      ["loop", true, true],
      ["first-reconcile", true, true],
      ["configuration", true, false],
      ["credentials", false, false],
      ["deliveries", false, false],
      ["reads", true, false],
      ["daemons", false, false],
      ["sources", true, false],
      ["discovery", false, false],
    ],
  );
});

Deno.test("healthOf: failing renewals are a warning, and critical in the mandatory window", () => {
  const lastFailure = { reason: "plugin-failed", detail: "exit 1", atMs: NOW_MS } as const;
  const failing = {
    expiresAtMs: NOW_MS + HOUR_MS,
    renewedAtMs: NOW_MS - 2 * HOUR_MS,
    failures: 1,
    lastFailure,
  };
  const early = health({ images: [imageOf(IMAGE, { ...failing, window: "advisory" })] });
  equal(early.level, "warning");
  match(early.summary, /after 1 attempt \(plugin-failed: exit 1\); it expires in 1h; /);
  match(early.summary, /; last renewed 2h ago: run: /);
  const late = health({ images: [imageOf(IMAGE, { ...failing, window: "mandatory" })] });
  equal(late.level, "critical");
});

Deno.test("healthOf: reports the worst finding", () => {
  const view = health({
    images: [
      imageOf("registry.example/a:1", { provider: "adopted", expiresAtMs: NOW_MS + 1 }),
      imageOf("registry.example/b:1", { expiresAtMs: NOW_MS, window: "expired" }),
    ],
  });
  match(view.summary, /^the credential of registry\.example\/b:1 expired/);
});

Deno.test("healthOf: one failing plugin under 400 images is one finding", () => {
  const failing = { plugin: "ecr", failures: 3, renewedAtMs: NOW_MS - HOUR_MS };
  const images = Array.from({ length: 400 }, (_, i) =>
    imageOf(`registry.example/app:${i}`, {
      ...failing,
      window: i < 9 ? "mandatory" : "advisory",
      expiresAtMs: NOW_MS + (i + 1) * 60_000,
      lastFailure: {
        reason: i % 2 === 0 ? "plugin-failed" : "plugin-backing-off",
        detail: "exit code 1",
        atMs: NOW_MS,
      },
    }));
  const { findings: [finding, ...others], summary } = health({ images });
  deepEqual(others, []);
  deepEqual([finding?.code, finding?.severity, finding?.count, finding?.images.length], [
    "renewal-failed",
    "critical",
    400,
    5,
  ]);
  match(
    summary,
    /app:0 after 3 attempts .* it expires in 1m; .* \(399 more with the same cause\): run/,
  );
});

Deno.test("healthOf: failing reads of an expired credential are its effect", () => {
  const expired = imageOf(IMAGE, { window: "expired", expiresAtMs: NOW_MS - HOUR_MS });
  const reads = (image: string) =>
    daemonOf("d", [mountOf("1", { image, readsFailingSinceMs: NOW_MS - 60_000 })]);
  const one = health({ images: [expired], daemons: [reads(IMAGE)] });
  deepEqual(
    one.findings.map(({ code, dependsOn, sinceMs }) => [code, dependsOn, sinceMs]),
    [
      ["credential-expired", undefined, NOW_MS - HOUR_MS],
      ["reads-failing", ["credential-expired"], NOW_MS - 60_000],
    ],
  );
  const other = health({ images: [expired], daemons: [reads("registry.example/other:1")] });
  deepEqual(other.findings.map(({ code }) => code), ["reads-failing", "credential-expired"]);
  deepEqual(other.findings.map(({ dependsOn }) => dependsOn), [undefined, undefined]);
});

Deno.test("HealthTracker: shows a failure that a restart ends only after ten seconds", () => {
  const tracker = new HealthTracker();
  const problems = [{ source: "root", subject: "/r", detail: "gone" } as const];
  const at = (seconds: number) =>
    tracker.view(statusOf({ problems, loopAgeMs: 0 }), NOW_MS + seconds * 1_000);
  deepEqual([0, 9].map((seconds) => at(seconds).level), ["ok", "ok"]);
  const shown = at(10);
  deepEqual([shown.level, shown.findings[0]?.sinceMs], ["warning", NOW_MS]);
});

Deno.test("healthOf: reports a credential that is not renewed once, for its mount or its image", () => {
  const daemons = [daemonOf("d", [mountOf("7", { delivery: "adopted" })])];
  const { provider: _provider, ...sourceless } = imageOf(IMAGE);
  const alone = health({ images: [sourceless], daemons });
  equal(alone.level, "warning");
  match(
    alone.summary,
    /^mount 7 of nydusd d .* keeps its current credential, which is not renewed/,
  );
  const shared = health({ images: [imageOf(IMAGE, { provider: "adopted" })], daemons });
  match(
    shared.summary,
    /^no provider has a credential for .*; its mounts keep their current credential/,
  );
});

Deno.test("healthOf: the loop is stuck after three intervals and at least one minute", () => {
  const at = (agoMs: number, checkIntervalMs: number) =>
    healthOf(statusOf({ lastReconcileAtMs: NOW_MS - agoMs, checkIntervalMs }), NOW_MS);
  deepEqual([at(180_000, 60_000).live, at(180_001, 60_000).live], [true, false]);
  deepEqual([at(60_000, 1_000).live, at(60_001, 1_000).live], [true, false]);
  const stuck = at(720_000, 60_000);
  deepEqual([stuck.level, stuck.ready], ["critical", false]);
  match(stuck.summary, /^no reconcile has completed for 12m: restart nydus-auth-agent/);
  equal(at(-HOUR_MS, 60_000).live, true, "a wall clock that was set back");
});

Deno.test("healthOf: is live for two minutes but not ready before the first reconcile", () => {
  const young = starting(120_000);
  deepEqual([young.live, young.ready, young.level], [true, false, "ok"]);
  match(young.summary, /^starting: /);
  const old = starting(120_001);
  deepEqual([old.live, old.ready, old.level], [false, false, "critical"]);
});

Deno.test("healthOf: failing reads are a warning, and critical after 30 seconds", () => {
  const reading = (seconds: number) =>
    health({
      daemons: [daemonOf("d", [mountOf("1", { readsFailingSinceMs: NOW_MS - seconds * 1_000 })])],
    });
  equal(reading(9).level, "ok", "a rotation");
  deepEqual([reading(10).level, reading(10).about], ["warning", "reads"]);
  equal(reading(30).level, "critical");
  match(
    reading(90).summary,
    /^reads of mount 1 of nydusd d \(registry.*\) have failed for 1m30s, although /,
  );
});

Deno.test("problemsOf: explains failing reads by the delivery state", () => {
  for (
    const [delivery, reason] of [
      ["stored", "although its current credential was delivered"],
      ["adopted", "although it keeps its previous credential"],
      ["none", "and no provider has a credential for it"],
      ["unreachable", "and its credential is not delivered yet"],
    ] as const
  ) {
    const failing = mountOf("1", { delivery, readsFailingSinceMs: NOW_MS - 90_000 });
    const problems = problemsOf(statusOf({ daemons: [daemonOf("d", [failing])] }), NOW_MS);
    const text = problems.find(({ code }) => code === "reads-failing")?.text ?? "";
    equal(text.includes(`have failed for 1m30s, ${reason}: `), true, text);
  }
});

Deno.test("healthOf: the summary contains no control character", () => {
  const problems = [{ source: "root", subject: "/a\u001b[2J", detail: "b\nc" } as const];
  const { summary } = health({ problems });
  equal(/\p{Cc}/u.test(summary), false);
});

Deno.test("healthOf: a file-only delivery is a problem only while nydusd uses an outdated credential", () => {
  const deliveryDetail = "nydusd v2.4.0 cannot be updated while it runs";
  const fileOnly = (parts: Parameters<typeof mountOf>[1]) =>
    health({
      images: [imageOf(IMAGE)],
      daemons: [
        daemonOf("d", [
          mountOf("1"),
          mountOf("2", { delivery: "file-only", deliveryDetail, ...parts }),
        ]),
      ],
    });
  const current = fileOnly({ file: "unchanged" });
  equal(current.level, "ok");
  match(
    current.summary,
    /^1 of 2 mounts have valid credentials, 1 is updated when nydusd restarts/,
  );
  const behind = fileOnly({ file: "unchanged", behindSinceMs: NOW_MS - HOUR_MS });
  deepEqual([behind.level, behind.about], ["warning", "deliveries"]);
  match(
    behind.summary,
    /^mount 2 of nydusd d \(reg.*\) has used an outdated credential for 1h, /,
  );
  match(
    behind.summary,
    /cannot be updated while it runs: restart that nydusd, whose configuration file has /,
  );
  match(
    fileOnly({ file: "skipped" }).summary,
    /^no credential can be delivered to .* no configuration file .*skipped/,
  );
});

Deno.test("healthOf: warns about a configuration file that is not written", () => {
  const deliveryDetail = "failed to write the configuration file: read-only file system";
  const mount = (file: string) => mountOf("1", { file, deliveryDetail });
  const failed = health({ images: [imageOf(IMAGE)], daemons: [daemonOf("d", [mount("failed")])] });
  deepEqual([failed.level, failed.about], ["warning", "deliveries"]);
  match(
    failed.summary,
    /would use an outdated credential after a restart of its nydusd: failed to write the configuration file/,
  );
  equal(
    health({ images: [imageOf(IMAGE)], daemons: [daemonOf("d", [mount("skipped")])] }).level,
    "ok",
  );
});

Deno.test("healthOf: reports an unapproved host with the action and the remedy", () => {
  const mount = (delivery: "stored" | "withheld" | "adopted") =>
    mountOf("7", { delivery, host: "mirror:5000", unapprovedHosts: ["mirror:5000", "proxy:1"] });
  const cases = [
    ["stored", /is delivered anyway/],
    ["withheld", /is withheld/],
    ["adopted", /keeps its current credential/],
  ] as const;
  for (const [delivery, words] of cases) {
    const view = health({ images: [imageOf(IMAGE)], daemons: [daemonOf("d", [mount(delivery)])] });
    equal(view.level, "warning");
    match(view.summary, words);
    match(view.summary, /mirror:5000, proxy:1/);
    match(view.summary, /delivery\.allowed_hosts/);
  }
  const approved = daemonOf("d", [mountOf("7", { host: "mirror:5000", hostApprovedBy: "a file" })]);
  equal(health({ images: [imageOf(IMAGE)], daemons: [approved] }).level, "ok");
});

Deno.test("healthOf: names the endpoint of a problem", () => {
  const lastFailure = { reason: "plugin-failed", detail: "no", atMs: NOW_MS } as const;
  const failing = imageOf(IMAGE, { endpoint: "mirror:5000/app:1", failures: 1, lastFailure });
  match(health({ images: [imageOf(IMAGE), failing] }).summary, /read from mirror:5000\/app:1/);
});

Deno.test("HealthTracker: reports since when a finding has lasted, also when the clock is set back", () => {
  const tracker = new HealthTracker();
  const { provider: _, ...bare } = imageOf(IMAGE);
  const missing = statusOf({ images: [{ ...bare, provider: "adopted" }], loopAgeMs: 0 });
  const sinceMinutes = (minutes: number, status = missing) => {
    const { findings } = tracker.view(status, NOW_MS + minutes * 60_000);
    return findings.map(({ sinceMs = NaN }) => (sinceMs - NOW_MS) / 60_000);
  };
  deepEqual(sinceMinutes(0), [0]);
  deepEqual(sinceMinutes(12), [0]);
  deepEqual(sinceMinutes(13, statusOf({ loopAgeMs: 0 })), []);
  deepEqual(sinceMinutes(14), [14]);
  deepEqual(sinceMinutes(-60), [-60]);
  deepEqual(sinceMinutes(-50), [-60]);
});
