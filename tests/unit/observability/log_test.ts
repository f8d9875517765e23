import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { type AgentEvent, type DeliveryOutcome, Secret } from "../../../lib/model/mod.ts";
import { createLog, fanOut, LOG_EVENTS } from "../../../lib/observability/mod.ts";
import type { LogOptions } from "../../../lib/observability/log.ts";
import { logLinesOf } from "../../../lib/observability/log_lines.ts";
import { redact, redactText } from "../../../lib/observability/redact.ts";
import { ATTEMPTED, EVENTS, FAILED, FILE_FAILED, IMAGE, RENEWED, REQUEST } from "./events.ts";
import { NOW_MS } from "./status_of.ts";

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

Deno.test("logLinesOf: returns lines for every event, and every name of LOG_EVENTS", () => {
  for (const event of Object.values(EVENTS)) ok(logLinesOf(event).length > 0, event.kind);
  const unchanged = { kind: "unchanged" } as const;
  const more: AgentEvent[] = [
    { ...REQUEST, outcome: "found", reason: "found" },
    { ...REQUEST, outcome: "none", reason: "no-config-file" },
    { ...EVENTS["plugin-executed"], result: "none" },
    { ...EVENTS["credential-renewed"], changed: false },
    { ...EVENTS["renewal-failed"], expired: true },
    { ...ATTEMPTED, outcome: { kind: "delivered", file: unchanged } },
    { ...ATTEMPTED, outcome: { kind: "unchanged", file: unchanged } },
    { ...EVENTS["delivery-state-changed"], to: "stored" },
    { ...EVENTS["daemon-state-changed"], to: "gone" },
    { ...EVENTS["health-changed"], level: "ok" },
    { ...EVENTS["health-changed"], level: "warning" },
  ];
  const names = new Set(
    [...Object.values(EVENTS), ...more].flatMap(logLinesOf).flatMap((line) =>
      line.recovery === undefined ? [line.event] : [line.event, line.recovery.event]
    ),
  );
  deepEqual([...names].sort(), Object.keys(LOG_EVENTS).sort());
});

/** Events with a text from elsewhere. */
const FORWARDED = /^(?:warning|agent-failed|health-.*)$/;

Deno.test("logLinesOf: a problem has its image, mount or source and the next step", () => {
  const moved = EVENTS["delivery-state-changed"];
  const problems: AgentEvent[] = [
    ...Object.values(EVENTS),
    { ...EVENTS["renewal-failed"], expired: true },
    ...(["refused", "unreachable", "unsupported", "withheld"] as const).map((to) => ({
      ...moved,
      to,
    })),
  ];
  const found = new Set<string>();
  for (const event of problems) {
    for (const { event: name, message, fields } of logLinesOf(event)) {
      const { level } = LOG_EVENTS[name];
      const isForwarded = FORWARDED.test(name);
      if ((level !== "warning" && level !== "error") || isForwarded) continue;
      found.add(name);
      match(message, /; \S/, name);
      const about = ["image", "daemon_id", "plugin", "source", "problems"];
      ok(about.some((field) => field in fields), name);
    }
  }
  const problemNames = Object.entries(LOG_EVENTS).filter(([name, { level }]) =>
    (level === "warning" || level === "error") && !FORWARDED.test(name)
  );
  deepEqual([...found].sort(), problemNames.map(([name]) => name).sort());
});

Deno.test("createLog: writes one line per event with its level and name in both formats", () => {
  for (const format of ["text", "json"] as const) {
    const { log, lines } = logOf({ format });
    log.notify(EVENTS["config-refused"]);
    equal(lines.length, 1);
    equal(lines[0]?.includes("\n"), false);
    match(lines[0] ?? "", /a\.b: wrong \(fix it\)/);
  }
  const { log, lines } = logOf({ format: "json" });
  log.notify(FAILED);
  const { "@timestamp": time, level, event, image } = JSON.parse(lines[0] ?? "");
  deepEqual({ time, level, event, image }, {
    time: new Date(NOW_MS).toISOString(),
    level: "warning",
    event: "renewal-failed",
    image: IMAGE,
  });
});

Deno.test("createLog: applies the level, also when it changes at run time", () => {
  const { log, names } = logOf({ level: "warning" });
  log.notify({ ...REQUEST, outcome: "none", reason: "no-config-file" });
  log.notify({ ...EVENTS["renewal-failed"], expired: true });
  log.notify(EVENTS["reconcile-finished"]);
  deepEqual(names(), ["error credential-expired:"]);
  log.setLevel("debug");
  log.notify(EVENTS["reconcile-finished"]);
  equal(names()[1], "debug reconcile-finished:");
});

Deno.test("createLog: does not affect other logs", () => {
  const one = logOf({ level: "error" });
  const other = logOf();
  one.log.notify(FAILED);
  other.log.notify(FAILED);
  deepEqual([one.lines.length, other.lines.length], [0, 1]);
});

Deno.test("createLog: logs repetitions at powers of ten, and the recovery", () => {
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

Deno.test("createLog: treats the backoff of a plugin as the same problem as its failure", () => {
  const { log, lines } = logOf();
  const failed = { ...EVENTS["renewal-failed"], reason: "plugin-failed" } as const;
  const backingOff = { ...failed, reason: "plugin-backing-off", detail: "backoff" } as const;
  for (let i = 0; i < 4; i++) {
    log.notify(failed);
    log.notify(backingOff);
  }
  equal(lines.length, 1);
  log.notify({ ...backingOff, expired: true });
  match(lines[1] ?? "", /credential-expired/);
});

Deno.test("createLog: logs a reconcile again when its numbers change", () => {
  const { log, lines } = logOf({ level: "debug" });
  const reconcile = EVENTS["reconcile-finished"];
  for (let i = 0; i < 9; i++) log.notify({ ...reconcile, durationMs: i });
  equal(lines.length, 1);
  log.notify({ ...reconcile, instances: 2 });
  equal(lines.length, 2);
});

Deno.test("createLog: logs another problem or another subject immediately", () => {
  const { log, lines } = logOf();
  log.notify(FAILED);
  log.notify({ ...EVENTS["renewal-failed"], expired: true });
  log.notify({ ...EVENTS["renewal-failed"], image: "registry.example/b:1" });
  equal(lines.length, 3);
});

Deno.test("createLog: logs failures of a configuration file independently of the delivery", () => {
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

/** A secret that must not be logged, in several encodings. */
const CANARY = "hunter2-canary";
const ENCODED = `Bearer ${CANARY}, Basic ${btoa(`u:${CANARY}`)}, ${btoa(`name:${CANARY}`)}, ` +
  `eyJhbGciOiJub25lIn0.${btoa(CANARY)}.c2ln, https://u:${CANARY}@registry.example/v2, ` +
  `\u001b[2J\r\n\u202e${new Secret(CANARY)}`;
/** Fields with a closed set of values. All others may contain text from outside. */
const CLOSED = new Set(["kind", "outcome", "result", "reason", "provider", "from", "to", "level"]);

function withSecrets(value: unknown, name = ""): unknown {
  if (typeof value === "string") return CLOSED.has(name) ? value : `${value} ${ENCODED}`;
  if (Array.isArray(value)) return value.map((item) => withSecrets(item, name));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, withSecrets(item, key)]),
  );
}

Deno.test("createLog: writes no secret and no control character from any field of any event", () => {
  const hidden = [CANARY, `u:${CANARY}`, `name:${CANARY}`].flatMap((text) => [text, btoa(text)]);
  for (const format of ["text", "json"] as const) {
    for (const event of Object.values(EVENTS)) {
      const { log, lines } = logOf({ format });
      log.notify(withSecrets({ detail: "", ...event }) as AgentEvent);
      ok(lines.length > 0 || event.kind === "discovery-recovered", event.kind);
      for (const line of lines) {
        for (const text of hidden) ok(!line.includes(text), `${event.kind}: ${line}`);
        doesNotMatch(line, /[\p{Cc}\u2028\u202e]/u);
        if (event.kind !== "reconcile-finished") match(line, /\[redacted\]/);
      }
    }
  }
});

Deno.test("createLog: logs problems immediately after an image or a daemon returns", () => {
  const { log, names } = logOf({ level: "warning" });
  const adopted = EVENTS["credential-adopted"];
  const rejected = EVENTS["delivery-attempted"];
  const of = (events: readonly AgentEvent[]) => {
    const before = names().length;
    for (const event of events) log.notify(event);
    return names().length - before;
  };
  equal(of([FAILED, FAILED, adopted, adopted]), 2);
  equal(of([EVENTS["credential-evicted"], FAILED, adopted]), 2);
  equal(of([RENEWED, adopted]), 1, "a provider returned one in between");
  equal(of([rejected, rejected]), 2, "one for the mount, one for its file");
  const gone = { kind: "daemon-state-changed", daemonId: "d", to: "gone" } as const;
  equal(of([{ ...gone, daemonId: "another" }, rejected]), 0);
  equal(of([gone, rejected]), 2);
});

Deno.test("createLog: counts a mount that alternates between states until it recovers", () => {
  const { log, names } = logOf({ level: "warning" });
  const refused = EVENTS["delivery-state-changed"];
  for (let i = 0; i < 5; i++) {
    log.notify(refused);
    log.notify({ ...refused, from: "refused", to: "pending" });
  }
  equal(names().length, 1);
  log.notify({ ...refused, from: "refused", to: "stored" });
  log.notify({ ...refused, from: "stored", to: "refused" });
  deepEqual(names(), ["warning mount-without-credential:", "warning mount-without-credential:"]);
});

Deno.test("createLog: logs a file-only delivery when the file is written", () => {
  const { log, names } = logOf({ level: "info" });
  const fileOnly = (file: DeliveryOutcome["file"]): AgentEvent => ({
    ...ATTEMPTED,
    outcome: { kind: "file-only", file, detail: "no configuration API" },
  });
  log.notify({ ...ATTEMPTED, outcome: { kind: "rejected", file: FILE_FAILED, detail: "500" } });
  for (let i = 0; i < 5; i++) log.notify(fileOnly(FILE_FAILED));
  deepEqual(names(), ["warning delivery-failed:", "warning config-file-failed:"]);
  log.notify(fileOnly({ kind: "written" }));
  log.notify(fileOnly({ kind: "unchanged" }));
  deepEqual(names().slice(2), [
    "info delivery-recovered:",
    "info credential-delivered:",
    "info config-file-recovered:",
  ]);
});

Deno.test("createLog: starts lines with a priority only if enabled", () => {
  for (const format of ["text", "json"] as const) {
    const { log, lines } = logOf({ format, priorities: true });
    log.notify(EVENTS["reconcile-finished"]);
    log.notify(EVENTS["config-loaded"]);
    log.notify(FAILED);
    log.notify(EVENTS["config-refused"]);
    deepEqual(lines.map((line) => line.slice(0, 3)), ["<7>", "<6>", "<4>", "<3>"]);
    const plain = logOf({ format });
    plain.log.notify(FAILED);
    equal(`<4>${plain.lines[0]}`, lines[2]);
  }
});

Deno.test("redact: replaces secret fields by name at any depth", () => {
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
  ok(!JSON.stringify(redact({ detail: new Secret(CANARY) })).includes(CANARY));
  match(Object.keys(redact({ "a\nb": 1 })).join(), /^[ -~]+$/);
  const deep = { a: { b: { c: { d: "deep enough" } } } };
  deepEqual(redact(deep), deep);
  deepEqual(redact({ deep: { deep } }), { deep: { deep: { a: { b: { c: "[too deep]" } } } } });
});

Deno.test("redactText: replaces base64 of a user name and password, and no other text", () => {
  for (const pair of ["user:pa55", "AWS:ey?>~", "u:pässwörd", ":registry-token"]) {
    const bytes = new TextEncoder().encode(pair);
    for (const alphabet of ["base64", "base64url"] as const) {
      for (const omitPadding of [false, true]) {
        const text = bytes.toBase64({ alphabet, omitPadding });
        equal(redactText(`auth="${text}",`), `auth="[redacted]",`, pair);
      }
    }
  }
  for (
    const text of [
      "registry.example/library/nginx:latest",
      `registry.example/app@sha256:${"0123456789abcdef".repeat(4)}`,
      "/var/lib/containerd-nydus/socket/cs1f2g3h4j5k6l7m/api.sock",
      btoa("no pair in here"),
      "credential-provider.kubelet.k8s.io/v1",
    ]
  ) equal(redactText(text), text);
});

Deno.test("redactText: truncates a long text, but not within a token", () => {
  const token = `Basic ${btoa(`u:${CANARY.repeat(9)}`)}`;
  for (let before = 4_060; before <= 4_100; before++) {
    const text = redactText(`${"word ".repeat(900).slice(0, before - 1)} ${token} end`);
    ok(text.length <= 4_096 + "[redacted][truncated]".length);
    ok(!text.includes(token.slice(6, 18)), `${before}`);
  }
  equal(redactText("x".repeat(5_000)), "[truncated]");
});

Deno.test("fanOut: notifies all observers when one throws", () => {
  const kinds: string[] = [];
  const bad = {
    notify() {
      throw new Error("broken");
    },
  };
  const good = { notify: (event: AgentEvent) => void kinds.push(event.kind) };
  fanOut([bad, good, bad, good]).notify(FAILED);
  deepEqual(kinds, ["renewal-failed", "renewal-failed"]);
});

Deno.test("createLog: a renewal for one endpoint does not end the problem of another one", () => {
  const { log, names } = logOf({ level: "info" });
  const failed = { ...EVENTS["renewal-failed"], endpoint: "mirror:5000/app:1" };
  const { endpoint: _, ...renewed } = { ...EVENTS["credential-renewed"], endpoint: "" };
  log.notify(failed);
  log.notify({ ...renewed, image: failed.image });
  log.notify(failed);
  log.notify({ ...renewed, image: failed.image, endpoint: "mirror:5000/app:1" });
  equal(names().filter((name) => name.includes("renewal-failed")).length, 1);
  equal(names().filter((name) => name.includes("renewal-recovered")).length, 1);
});
