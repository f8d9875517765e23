import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { type AgentEvent, type DeliveryOutcome, Secret } from "../../../lib/model/mod.ts";
import { createLog, fanOut, LOG_EVENTS, type LogOptions } from "../../../lib/observability/mod.ts";
import { linesOf } from "../../../lib/observability/log_lines.ts";
import { redact, redactText } from "../../../lib/observability/redact.ts";
import { ASKED, ATTEMPTED, EVENTS, FAILED, FILE_FAILED, IMAGE, RENEWED } from "./events.ts";
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
    { ...EVENTS["health-changed"], level: "ok" },
    { ...EVENTS["health-changed"], level: "warning" },
  ];
  const met = new Set(
    [...Object.values(EVENTS), ...more].flatMap(linesOf).flatMap((line) =>
      line.recovery === undefined ? [line.event] : [line.event, line.recovery.event]
    ),
  );
  deepEqual([...met].sort(), Object.keys(LOG_EVENTS).sort());
});

Deno.test("linesOf: what is wrong names its image, mount or source, and says what comes next", () => {
  const moved = EVENTS["delivery-state-changed"];
  const problems: AgentEvent[] = [
    ...Object.values(EVENTS),
    { ...EVENTS["renewal-failed"], expired: true },
    ...(["refused", "unreachable", "unsupported", "withheld"] as const).map((to) => ({
      ...moved,
      to,
    })),
  ];
  const met = new Set<string>();
  for (const event of problems) {
    for (const { event: name, message, fields } of linesOf(event)) {
      const { level } = LOG_EVENTS[name];
      const isWords = name === "warning" || name.startsWith("health-"); // others' words
      if ((level !== "warning" && level !== "error") || isWords) continue;
      met.add(name);
      match(message, /; \S.*|stays in force: /, name);
      const about = ["image", "daemon_id", "plugin", "source", "problems"];
      ok(about.some((field) => field in fields), name);
    }
  }
  const wrong = Object.entries(LOG_EVENTS).filter(([name, { level }]) =>
    (level === "warning" || level === "error") && name !== "warning" && !name.startsWith("health-")
  );
  deepEqual([...met].sort(), wrong.map(([name]) => name).sort());
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

Deno.test("createLog: that a plugin rests is no other problem than that it failed", () => {
  const { log, lines } = logOf();
  const failed = { ...EVENTS["renewal-failed"], reason: "plugin-failed" } as const;
  const resting = { ...failed, reason: "plugin-backing-off", detail: "it rests" } as const;
  for (let i = 0; i < 4; i++) {
    log.notify(failed);
    log.notify(resting);
  }
  equal(lines.length, 1);
  log.notify({ ...resting, expired: true });
  match(lines[1] ?? "", /credential-expired/);
});

Deno.test("createLog: a round is said again when the node is another one", () => {
  const { log, lines } = logOf({ level: "debug" });
  const round = EVENTS["reconcile-finished"];
  for (let i = 0; i < 9; i++) log.notify({ ...round, durationMs: i });
  equal(lines.length, 1);
  log.notify({ ...round, instances: 2 });
  equal(lines.length, 2);
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

/** What must never pass, in every dress in which it could come along. */
const CANARY = "hunter2-canary";
const DRESSED = `Bearer ${CANARY}, Basic ${btoa(`u:${CANARY}`)}, ${btoa(`name:${CANARY}`)}, ` +
  `eyJhbGciOiJub25lIn0.${btoa(CANARY)}.c2ln, https://u:${CANARY}@registry.example/v2, ` +
  `\u001b[2J\r\n\u202e${new Secret(CANARY)}`;
/** Words out of closed sets; everything else may come from outside. */
const CLOSED = new Set(["kind", "outcome", "result", "reason", "provider", "from", "to", "level"]);

function dressed(value: unknown, name = ""): unknown {
  if (typeof value === "string") return CLOSED.has(name) ? value : `${value} ${DRESSED}`;
  if (Array.isArray(value)) return value.map((item) => dressed(item, name));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, dressed(item, key)]));
}

Deno.test("createLog: no secret and no control character passes, in any text of any event", () => {
  const hidden = [CANARY, `u:${CANARY}`, `name:${CANARY}`].flatMap((text) => [text, btoa(text)]);
  for (const format of ["text", "json"] as const) {
    for (const event of Object.values(EVENTS)) {
      const { log, lines } = logOf({ format });
      log.notify(dressed({ detail: "", ...event }) as AgentEvent);
      ok(lines.length > 0 || event.kind === "discovery-recovered", event.kind);
      for (const line of lines) {
        for (const text of hidden) ok(!line.includes(text), `${event.kind}: ${line}`);
        doesNotMatch(line, /[\p{Cc}\u2028\u202e]/u);
        if (event.kind !== "reconcile-finished") match(line, /\[redacted\]/);
      }
    }
  }
});

Deno.test("createLog: an image or a daemon that comes back is heard of at once", () => {
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
  equal(of([RENEWED, adopted]), 1, "a source gave one in between");
  equal(of([rejected, rejected]), 2, "the mount and its file, once each");
  const gone = { kind: "daemon-state-changed", daemonId: "d", to: "gone" } as const;
  equal(of([{ ...gone, daemonId: "another" }, rejected]), 0);
  equal(of([gone, rejected]), 2);
});

Deno.test("createLog: a mount that goes to and fro is counted, and said again once it was well", () => {
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

Deno.test("createLog: what only the file can hold is delivered when the file has it", () => {
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

Deno.test("createLog: priorities stand first where the journal reads them, and only there", () => {
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
  ok(!JSON.stringify(redact({ detail: new Secret(CANARY) })).includes(CANARY));
});

Deno.test("redactText: base64 of a pair goes, what only looks like base64 stays", () => {
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

Deno.test("redactText: a long text is cut, and never within a token", () => {
  const token = `Basic ${btoa(`u:${CANARY.repeat(9)}`)}`;
  for (let before = 4_060; before <= 4_100; before++) {
    const text = redactText(`${"word ".repeat(900).slice(0, before - 1)} ${token} end`);
    ok(text.length <= 4_096 + "[redacted][cut]".length);
    ok(!text.includes(token.slice(6, 18)), `${before}`);
  }
  equal(redactText("x".repeat(5_000)), "[cut]");
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

Deno.test("a place's troubles are not ended by another place of the same image", () => {
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
