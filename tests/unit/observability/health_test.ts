import { deepEqual, equal, match } from "node:assert/strict";
import type { AgentStatus } from "../../../lib/model/mod.ts";
import { healthOf } from "../../../lib/observability/mod.ts";
import { findingsOf } from "../../../lib/observability/findings.ts";
import { daemonOf, imageOf, mountOf, NOW_MS, statusOf } from "./status_of.ts";

const IMAGE = "registry.example/app:1";
const HOUR_MS = 3_600_000;
const OPTIONS = { checkIntervalMs: 60_000 };

function health(parts: Partial<AgentStatus> = {}, nowMs = NOW_MS) {
  return healthOf(statusOf(parts), nowMs, OPTIONS);
}

function starting(upMs: number) {
  const { firstReconcileAtMs: _, lastReconcileAtMs: __, ...rest } = statusOf();
  return healthOf({ ...rest, startedAtMs: NOW_MS - upMs }, NOW_MS, OPTIONS);
}

Deno.test("healthOf: calm says how many mounts hold and when the next renewal is", () => {
  const view = health({
    images: [imageOf(IMAGE, { nextAttemptAtMs: NOW_MS + 3 * HOUR_MS })],
    daemons: [daemonOf("d", [mountOf("1"), mountOf("2")])],
  });
  equal(view.summary, "all 2 mounts hold valid credentials; the next renewal is in 3h");
  deepEqual([view.level, view.live, view.ready], ["ok", true, true]);
  equal(view.checks.every(({ ok }) => ok), true);
});

Deno.test("healthOf: public images need no credential, and are nothing wrong", () => {
  const { provider: _, ...bare } = imageOf("docker.io/library/nginx:latest");
  const lastFailure = { reason: "no-secret-matched", detail: "none", atMs: NOW_MS } as const;
  const view = health({
    images: [imageOf(IMAGE), { ...bare, failures: 9, lastFailure }],
    daemons: [daemonOf("d", [mountOf("1"), mountOf("2", { delivery: "none" })])],
  });
  equal(view.level, "ok");
  equal(
    view.summary,
    "1 of 2 mounts hold valid credentials, 1 needs none; their sources are watched",
  );
  equal(health().summary, "no nydus mount is on this node: there is nothing to renew");
});

Deno.test("healthOf: no credential because a provider fails is a warning", () => {
  const { provider: _, ...bare } = imageOf(IMAGE);
  const lastFailure = { reason: "plugin-timeout", detail: "60s", atMs: NOW_MS } as const;
  const view = health({ images: [{ ...bare, failures: 2, lastFailure }] });
  equal(view.level, "warning");
  match(view.summary, /^no credential for registry\.example\/app:1 could be had in 2 tries/);
  match(view.summary, /plugin-timeout: 60s\): run: nydus-auth-agent explain registry/);
});

Deno.test("healthOf: a refused configuration is a warning that says what is in force", () => {
  const problems = ["config.toml: line 3: broken TOML", "config.toml: line 9: unknown key"];
  const view = health({ refusedConfig: problems });
  deepEqual([view.level, view.about], ["warning", "configuration"]);
  equal(
    view.summary,
    "the new configuration was refused and the previous one is in force: config.toml: line 3: " +
      "broken TOML (and 1 more): fix it (nydus-auth-agent check) and reload",
  );
});

Deno.test("healthOf: an outage outside never makes it dead or unready", () => {
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
  match(view.summary, /^the credential of \S+ expired 5m ago, and reads .* \(and 3 more\): run: /);
  deepEqual(
    view.checks.map(({ name, ok, gate }) => [name, ok, gate]),
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

Deno.test("healthOf: failing renewals warn, and are critical in the mandatory window", () => {
  const lastFailure = { reason: "plugin-failed", detail: "exit 1", atMs: NOW_MS } as const;
  const failing = {
    expiresAtMs: NOW_MS + HOUR_MS,
    renewedAtMs: NOW_MS - 2 * HOUR_MS,
    failures: 1,
    lastFailure,
  };
  const early = health({ images: [imageOf(IMAGE, { ...failing, window: "advisory" })] });
  equal(early.level, "warning");
  match(early.summary, /failed in one try \(plugin-failed: exit 1\), last renewed 2h ago; /);
  match(early.summary, /it is good for 1h more: run: /);
  const late = health({ images: [imageOf(IMAGE, { ...failing, window: "mandatory" })] });
  equal(late.level, "critical");
});

Deno.test("healthOf: the worst wins over what comes first", () => {
  const view = health({
    images: [
      imageOf("registry.example/a:1", { provider: "adopted", expiresAtMs: NOW_MS + 1 }),
      imageOf("registry.example/b:1", { expiresAtMs: NOW_MS + HOUR_MS, window: "expired" }),
    ],
  });
  match(view.summary, /^the credential of registry\.example\/b:1 expired/);
});

Deno.test("healthOf: a mount that keeps for itself what nobody renews is told once", () => {
  const daemons = [daemonOf("d", [mountOf("7", { delivery: "adopted" })])];
  const { provider: _provider, ...sourceless } = imageOf(IMAGE);
  const alone = health({ images: [sourceless], daemons });
  equal(alone.level, "warning");
  match(alone.summary, /^mount 7 of nydusd d .* keeps the credential that it holds, and nobody/);
  const shared = health({ images: [imageOf(IMAGE, { provider: "adopted" })], daemons });
  match(shared.summary, /^no source has a credential for .*: its mounts keep the one/);
});

Deno.test("healthOf: the loop is stuck after three intervals, and after a minute at least", () => {
  const at = (agoMs: number, checkIntervalMs: number) =>
    healthOf(statusOf({ lastReconcileAtMs: NOW_MS - agoMs }), NOW_MS, { checkIntervalMs });
  deepEqual([at(180_000, 60_000).live, at(180_001, 60_000).live], [true, false]);
  deepEqual([at(60_000, 1_000).live, at(60_001, 1_000).live], [true, false]);
  const stuck = at(720_000, 60_000);
  deepEqual([stuck.level, stuck.ready], ["critical", false]);
  match(stuck.summary, /^nothing has been compared for 12m: restart nydus-auth-agent/);
  equal(at(-HOUR_MS, 60_000).live, true, "a wall clock that steps back is no stuck loop");
});

Deno.test("healthOf: before the first round it is live for two minutes, and not ready", () => {
  const young = starting(120_000);
  deepEqual([young.live, young.ready, young.level], [true, false, "ok"]);
  match(young.summary, /^starting: /);
  const old = starting(120_001);
  deepEqual([old.live, old.ready, old.level], [false, false, "critical"]);
});

Deno.test("healthOf: reads that fail warn at once, and are critical when that lasts", () => {
  const reading = (seconds: number) =>
    health({
      daemons: [daemonOf("d", [mountOf("1", { readsFailingSinceMs: NOW_MS - seconds * 1_000 })])],
    });
  deepEqual([reading(3).level, reading(3).about], ["warning", "reads"]);
  equal(reading(30).level, "critical");
  match(
    reading(90).summary,
    /^reads of mount 1 of nydusd d \(registry.*\) fail for 1m30s, although /,
  );
});

Deno.test("healthOf: reads that fail are explained by what the mount has", () => {
  for (
    const [delivery, reason] of [
      ["stored", "although it has been given its credential"],
      ["adopted", "although it keeps the credential that it held"],
      ["none", "and no provider has a credential for it"],
      ["unreachable", "and it has not been given its credential yet"],
    ] as const
  ) {
    const failing = mountOf("1", { delivery, readsFailingSinceMs: NOW_MS - 90_000 });
    const findings = findingsOf(statusOf({ daemons: [daemonOf("d", [failing])] }), NOW_MS);
    const [text = ""] = findings.filter(({ area }) => area === "reads").map(({ text }) => text);
    equal(text.includes(`fail for 1m30s, ${reason}: `), true, text);
  }
});

Deno.test("healthOf: the sentence cannot steer a terminal", () => {
  const problems = [{ source: "root", subject: "/a\u001b[2J", detail: "b\nc" } as const];
  const { summary } = health({ problems });
  equal(/\p{Cc}/u.test(summary), false);
});

Deno.test("healthOf: a nydusd that cannot be told is none that holds, and is trouble once it is behind", () => {
  const deliveryDetail = "nydusd v2.4.0 cannot be told while it runs";
  const late = (parts: Parameters<typeof mountOf>[1]) =>
    health({
      images: [imageOf(IMAGE)],
      daemons: [
        daemonOf("d", [
          mountOf("1"),
          mountOf("2", { delivery: "file-only", deliveryDetail, ...parts }),
        ]),
      ],
    });
  const calm = late({ file: "unchanged" });
  equal(calm.level, "ok");
  match(calm.summary, /^1 of 2 mounts hold valid credentials, 1 is told only when nydusd starts/);
  const behind = late({ file: "unchanged", behindSinceMs: NOW_MS - HOUR_MS });
  deepEqual([behind.level, behind.about], ["warning", "deliveries"]);
  match(
    behind.summary,
    /^mount 2 of nydusd d \(reg.*\) has gone on for 1h with an older credential /,
  );
  match(behind.summary, /cannot be told while it runs: its file has the new one: restart that /);
  match(
    late({ file: "skipped" }).summary,
    /cannot be given a credential at all: .* no configuration file .*skipped/,
  );
});

Deno.test("healthOf: a configuration file that is not written is told while the mount itself is well", () => {
  const deliveryDetail = "its configuration file was not written: read-only file system";
  const mount = (file: string) => mountOf("1", { file, deliveryDetail });
  const failed = health({ images: [imageOf(IMAGE)], daemons: [daemonOf("d", [mount("failed")])] });
  deepEqual([failed.level, failed.about], ["warning", "deliveries"]);
  match(failed.summary, /would begin with an old one after a restart: its configuration file /);
  equal(
    health({ images: [imageOf(IMAGE)], daemons: [daemonOf("d", [mount("skipped")])] }).level,
    "ok",
  );
});

Deno.test("healthOf: a host that nobody named is told with what was done, and how to name it", () => {
  const mount = (delivery: "stored" | "withheld" | "adopted") =>
    mountOf("7", { delivery, host: "mirror:5000", unapprovedHosts: ["mirror:5000", "proxy:1"] });
  const cases = [
    ["stored", /delivered all the same/],
    ["withheld", /it is withheld/],
    ["adopted", /keeps the one/],
  ] as const;
  for (const [delivery, words] of cases) {
    const view = health({ images: [imageOf(IMAGE)], daemons: [daemonOf("d", [mount(delivery)])] });
    equal(view.level, "warning");
    match(view.summary, words);
    match(view.summary, /mirror:5000, proxy:1/);
    match(view.summary, /delivery\.allowed_hosts/);
  }
  const named = daemonOf("d", [mountOf("7", { host: "mirror:5000", hostApprovedBy: "a file" })]);
  equal(health({ images: [imageOf(IMAGE)], daemons: [named] }).level, "ok");
});

Deno.test("healthOf: trouble of one place names that place", () => {
  const lastFailure = { reason: "plugin-failed", detail: "no", atMs: NOW_MS } as const;
  const failing = imageOf(IMAGE, { endpoint: "mirror:5000/app:1", failures: 1, lastFailure });
  match(health({ images: [imageOf(IMAGE), failing] }).summary, /read from mirror:5000\/app:1/);
});
