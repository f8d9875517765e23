import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { type AgentEvent, Secret } from "../../../lib/model/mod.ts";
import { createLog, fanOut, LOG_EVENTS, type LogOptions } from "../../../lib/report/mod.ts";
import { linesOf } from "../../../lib/report/log_lines.ts";
import { redact, redactText } from "../../../lib/report/redact.ts";
import { NOW_MS } from "./status_of.ts";

const IMAGE = "registry.example/app:1";
const FAILED: AgentEvent = {
  kind: "renewal-failed",
  image: IMAGE,
  provider: "kubelet",
  reason: "plugin-failed",
  detail: "exit code 1",
  expired: false,
  nextAttemptAtMs: NOW_MS,
};
const RENEWED: AgentEvent = {
  kind: "credential-renewed",
  image: IMAGE,
  provider: "kubelet",
  changed: true,
  fingerprint: "0011aabb",
};
const ASKED = {
  kind: "provider-asked",
  provider: "docker",
  image: IMAGE,
  durationMs: 1,
} as const;
const ATTEMPTED = {
  kind: "delivery-attempted",
  daemonId: "d",
  snapshotId: "1",
  image: IMAGE,
  durationMs: 1,
} as const;
const FILE_FAILED = { kind: "failed", detail: "read-only" } as const;

/** One event of every kind, by kind, so that the compiler asks for new ones. */
const EVENTS: { readonly [K in AgentEvent["kind"]]: Extract<AgentEvent, { kind: K }> } = {
  "provider-asked": { ...ASKED, outcome: "failed", reason: "unreadable" },
  "plugin-executed": {
    kind: "plugin-executed",
    provider: "kubelet",
    plugin: "ecr",
    result: "timeout",
    durationMs: 60_000,
  },
  "credential-renewed": RENEWED as Extract<AgentEvent, { kind: "credential-renewed" }>,
  "renewal-failed": FAILED as Extract<AgentEvent, { kind: "renewal-failed" }>,
  "credential-evicted": { kind: "credential-evicted", image: IMAGE },
  "credential-adopted": { kind: "credential-adopted", image: IMAGE, fingerprint: "00000000" },
  "delivery-attempted": {
    ...ATTEMPTED,
    outcome: { kind: "rejected", file: FILE_FAILED, detail: "status 500" },
  },
  "delivery-state-changed": {
    kind: "delivery-state-changed",
    daemonId: "d",
    snapshotId: "1",
    image: IMAGE,
    from: "pending",
    to: "refused",
  },
  "daemon-state-changed": { kind: "daemon-state-changed", daemonId: "d", to: "unresponsive" },
  "discovery-problem": { kind: "discovery-problem", source: "root", subject: "/r", detail: "x" },
  "discovery-recovered": { kind: "discovery-recovered", source: "root", subject: "/r" },
  "reconcile-finished": {
    kind: "reconcile-finished",
    trigger: "tick",
    durationMs: 1,
    daemons: 1,
    instances: 1,
    images: 1,
  },
  "source-changed": { kind: "source-changed", source: "docker", path: "/c" },
  "config-loaded": { kind: "config-loaded", hash: "h", files: ["/f"] },
  "config-refused": {
    kind: "config-refused",
    problems: [{ file: "/f", place: "a.b", problem: "wrong", mend: "mend it" }],
  },
  "warning": { kind: "warning", code: "store-full", text: "full" },
};

function logOf(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const log = createLog({
    write: (line) => lines.push(line),
    level: "debug",
    format: "text",
    now: () => NOW_MS,
    ...options,
  });
  const names = () => lines.map((line) => line.split(" ").slice(1, 3).join(" "));
  return { log, lines, names };
}

Deno.test("LOG_EVENTS: docs/logs.md tells the same", async () => {
  const docs = await Deno.readTextFile(new URL("../../../docs/logs.md", import.meta.url));
  const rows = docs.split("\n").map((row) => row.split("|").map((cell) => cell.trim()))
    .filter((cells) => cells[1]?.startsWith("`")).map((cells) => cells.slice(1, 4));
  deepEqual(
    rows,
    Object.entries(LOG_EVENTS).map(([name, { level, meaning }]) => [`\`${name}\``, level, meaning]),
  );
});

Deno.test("linesOf: every event has lines, and every name can be met", () => {
  for (const event of Object.values(EVENTS)) ok(linesOf(event).length > 0, event.kind);
  const unchanged = { kind: "unchanged" } as const;
  const more: AgentEvent[] = [
    { ...ASKED, outcome: "found", reason: "found" },
    { ...ASKED, outcome: "none", reason: "no-config-file" },
    { ...EVENTS["plugin-executed"], result: "none" },
    { ...EVENTS["credential-renewed"], changed: false },
    { ...EVENTS["renewal-failed"], expired: true },
    { ...ATTEMPTED, outcome: { kind: "delivered", file: unchanged } },
    { ...ATTEMPTED, outcome: { kind: "unchanged", file: unchanged } },
    { ...EVENTS["delivery-state-changed"], to: "stored" },
    { ...EVENTS["daemon-state-changed"], to: "gone" },
  ];
  const met = new Set(
    [...Object.values(EVENTS), ...more].flatMap(linesOf).flatMap((line) =>
      line.recovery === undefined ? [line.event] : [line.event, line.recovery.event]
    ),
  );
  deepEqual([...met].sort(), Object.keys(LOG_EVENTS).sort());
});

Deno.test("createLog: one line an event, with its level and name, in both formats", () => {
  for (const format of ["text", "json"] as const) {
    const { log, lines } = logOf({ format });
    log.notify(EVENTS["config-refused"]);
    equal(lines.length, 1);
    equal(lines[0]?.includes("\n"), false);
    match(lines[0] ?? "", /a\.b: wrong \(mend it\)/);
  }
  const { log, lines } = logOf({ format: "json" });
  log.notify(FAILED);
  const { "@timestamp": time, level, event, image } = JSON.parse(lines[0] ?? "");
  deepEqual({ time, level, event, image }, {
    time: new Date(NOW_MS).toISOString(),
    level: "WARN",
    event: "renewal-failed",
    image: IMAGE,
  });
});

Deno.test("createLog: levels are as documented, and change at run time", () => {
  const { log, names } = logOf({ level: "warning" });
  log.notify({ ...ASKED, outcome: "none", reason: "no-config-file" });
  log.notify({ ...EVENTS["renewal-failed"], expired: true });
  log.notify(EVENTS["reconcile-finished"]);
  deepEqual(names(), ["error credential-expired:"]);
  log.setLevel("debug");
  log.notify(EVENTS["reconcile-finished"]);
  equal(names()[1], "debug reconcile-finished:");
});

Deno.test("createLog: two logs do not disturb each other", () => {
  const one = logOf({ level: "error" });
  const other = logOf();
  one.log.notify(FAILED);
  other.log.notify(FAILED);
  deepEqual([one.lines.length, other.lines.length], [0, 1]);
});

Deno.test("createLog: what repeats is said at powers of ten, and its end is said", () => {
  const { log, lines, names } = logOf({ level: "info" });
  for (let i = 1; i <= 150; i++) {
    log.notify({ ...EVENTS["renewal-failed"], detail: `exit code ${i}` });
  }
  deepEqual(lines.map((line) => /count=(\d+)/.exec(line)?.[1]), [undefined, "10", "100"]);
  log.notify(RENEWED);
  log.notify(RENEWED);
  deepEqual(names().slice(3), [
    "info renewal-recovered:",
    "info credential-renewed:",
    "info credential-renewed:",
  ]);
  log.notify(FAILED);
  equal(lines.length, 7);
});

Deno.test("createLog: another problem, or another subject's, is said at once", () => {
  const { log, lines } = logOf();
  log.notify(FAILED);
  log.notify({ ...EVENTS["renewal-failed"], expired: true });
  log.notify({ ...EVENTS["renewal-failed"], image: "registry.example/b:1" });
  equal(lines.length, 3);
});

Deno.test("createLog: a daemon's file fails and recovers beside the delivery", () => {
  const { log, names } = logOf({ level: "info" });
  const delivered = (file: "written" | "failed"): AgentEvent => ({
    ...ATTEMPTED,
    outcome: { kind: "delivered", file: file === "failed" ? FILE_FAILED : { kind: file } },
  });
  for (const file of ["written", "failed", "failed", "written"] as const) {
    log.notify(delivered(file));
  }
  deepEqual(names(), [
    "info credential-delivered:",
    "info credential-delivered:",
    "warning config-file-failed:",
    "info credential-delivered:",
    "info credential-delivered:",
    "info config-file-recovered:",
  ]);
});

Deno.test("createLog: no secret passes, and no control character", () => {
  const canary = "hunter2-canary";
  const jwt = `eyJhbGciOiJub25lIn0.${btoa(canary)}.c2ln`;
  for (const format of ["text", "json"] as const) {
    const { log, lines } = logOf({ format });
    const text = `Bearer ${canary}, Basic ${btoa(`u:${canary}`)}, ${jwt}, ` +
      `https://u:${canary}@registry.example/v2 \u001b[2J\r\n\u202e${new Secret(canary)}`;
    log.notify({ kind: "warning", code: "odd\u2028code", text });
    log.notify({ ...EVENTS["renewal-failed"], detail: text });
    equal(lines.length, 2);
    for (const line of lines) {
      ok(!line.includes(canary) && !line.includes(btoa(canary)), line);
      ok(!line.includes(btoa(`u:${canary}`)), line);
      doesNotMatch(line, /[\p{Cc}\u2028\u202e]/u);
      match(line, /\[redacted\]/);
    }
  }
});

Deno.test("redact: secret fields by name at any depth, the rest as it is", () => {
  deepEqual(
    redact({
      password: "a",
      registry_auth: "b",
      identityToken: "c",
      Authorization: "d",
      author: "e",
      nested: { list: [{ client_secret: "f", name: "g" }] },
    }),
    {
      password: "[redacted]",
      registry_auth: "[redacted]",
      identityToken: "[redacted]",
      Authorization: "[redacted]",
      author: "e",
      nested: { list: [{ client_secret: "[redacted]", name: "g" }] },
    },
  );
  equal(redactText("basic authentication is in use"), "basic authentication is in use");
});

Deno.test("fanOut: an observer that throws does not hide the event from the others", () => {
  const heard: string[] = [];
  const bad = {
    notify() {
      throw new Error("broken");
    },
  };
  const good = { notify: (event: AgentEvent) => void heard.push(event.kind) };
  fanOut([bad, good, bad, good]).notify(FAILED);
  deepEqual(heard, ["renewal-failed", "renewal-failed"]);
});
