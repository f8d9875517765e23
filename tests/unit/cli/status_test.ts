import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { Context } from "../../../lib/platform/mod.ts";
import { EXIT } from "../../../lib/model/mod.ts";
import { LEVEL_EXIT } from "../../../lib/cli/status.ts";
import type { AgentReply } from "../../../lib/cli/agent_client.ts";
import { clipped, watchStatus, wrapped } from "../../../lib/cli/status_watch.ts";
import { statusText } from "../../../lib/cli/status_text.ts";
import type { AgentStatus } from "../../../lib/model/mod.ts";
import { healthOf } from "../../../lib/observability/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeHost } from "../../fakes/host.ts";
import { crowdedNode, HOSTILE, hostileNode, oneImage } from "../observability/page/nodes.ts";
import { NOW_MS } from "../observability/status_of.ts";

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

function toldOf(status: AgentStatus): AgentReply {
  return { status, health: healthOf(status, NOW_MS, { checkIntervalMs: 60_000 }) };
}

/** Watches through these answers (undefined: nobody answers); then a signal ends it. */
async function watch(
  answers: readonly (AgentReply | undefined)[],
  options: { terminal?: boolean; output?: string; noColour?: boolean; rows?: number } = {},
): Promise<{ readonly code: number; readonly written: string; readonly listeners: number }> {
  const host = new FakeHost();
  host.stdoutIsTerminal = options.terminal ?? false;
  host.size = { columns: 60, rows: options.rows ?? 24 };
  if (options.noColour) host.env["NO_COLOR"] = "1";
  const clock = new FakeClock();
  let turn = 0;
  const ask = () => {
    const told = answers[turn++];
    return told === undefined
      ? Promise.reject(new Error("ask: no \u001bone"))
      : Promise.resolve(told);
  };
  const context = { host, clock } as unknown as Context;
  const ended = watchStatus(context, ask, options.output ?? "text");
  await clock.waiting();
  for (let i = 1; i < answers.length; i++) {
    await clock.advance(2_000);
    await clock.waiting();
  }
  host.signal("SIGINT");
  return { code: await ended, written: host.written, listeners: host.signal("SIGINT") };
}

Deno.test("statusText: trouble first, every table, and no control character of anybody's", () => {
  const text = statusText(crowdedNode(7).status, NOW_MS, { colour: false });
  const lines = text.split("\n");
  match(lines[1] ?? "", / expired +kubelet +1m ago /);
  for (const head of ["IMAGE", "DAEMON", "PROVIDER", "PLUGIN"]) {
    ok(lines.some((line) => line.startsWith(head)), head);
  }
  const hostile = statusText(hostileNode().status, NOW_MS, { colour: false });
  ok(hostile.includes(HOSTILE.slice(0, 20)));
  ok(!CONTROL.test(hostile));
});

Deno.test("statusText: when reads end if every source is silent, for each mount and for the node", () => {
  const { status } = oneImage();
  const [daemon] = status.daemons;
  const [instance] = daemon?.instances ?? [];
  if (daemon === undefined || instance === undefined) throw new Error("there is a mount");
  const at = (minutes: number) => NOW_MS + minutes * 60_000;
  const instances = [
    { ...instance, readsFailAtMs: at(90) },
    { ...instance, readsFailAtMs: at(12) },
  ];
  const text = statusText(
    { ...status, nowMs: NOW_MS, daemons: [{ ...daemon, instances }] },
    NOW_MS,
    { colour: false },
  );
  match(text, / 1h30m +/);
  match(text, / 12m +/);
  match(text, /^if every source is silent from now on, the first read fails: 12m$/m);
  const unknown = { ...status, daemons: [{ ...daemon, instances: [instance] }] };
  ok(!statusText(unknown, NOW_MS, { colour: false }).includes("if every source"));
});

Deno.test("statusText: colours change no column", () => {
  const { status } = crowdedNode(7);
  const plain = statusText(status, NOW_MS, { colour: false });
  const painted = statusText(status, NOW_MS, { colour: true });
  ok(painted.includes("\x1b[31mexpired\x1b[0m"));
  // deno-lint-ignore no-control-regex
  equal(painted.replace(/\x1b\[\d+m/g, ""), plain);
});

Deno.test("watchStatus: in a terminal it takes the screen, stays in it, and gives it back", async () => {
  const crowd = toldOf(crowdedNode(300).status);
  const { code, written, listeners } = await watch([crowd, undefined, crowd], {
    terminal: true,
    rows: 12,
  });
  deepEqual([code, listeners], [0, 0]);
  ok(written.startsWith("\x1b[?1049h\x1b[?25l"));
  ok(written.endsWith("\x1b[?25h\x1b[?1049l"));
  const screens = written.split("\x1b[H\x1b[J").slice(1);
  equal(screens.length, 3);
  equal((screens[0] ?? "").split("\n").length, 11);
  match(screens[0] ?? "", /… \d+ more lines$/);
  match(screens[1] ?? "", /no .one; it did until \d\d:\d\d:\d\d/);
  // deno-lint-ignore no-control-regex
  const widths = (screens[0] ?? "").replace(/\x1b\[\d*m/g, "").split("\n").map((l) =>
    [...l].length
  );
  ok(Math.max(...widths) <= 60);
});

Deno.test("watchStatus: NO_COLOR leaves nothing but the moves of the screen", async () => {
  const told = toldOf(crowdedNode(7).status);
  const { written } = await watch([told], { terminal: true, noColour: true });
  // deno-lint-ignore no-control-regex
  ok(!/\x1b\[\d*m/.test(written));
  ok((await watch([told], { terminal: true })).written.includes("\x1b[31m"));
});

Deno.test("watchStatus: in a pipe a plain line, and only when something else is said", async () => {
  const one = oneImage().status;
  const later = toldOf({ ...one, nowMs: NOW_MS });
  const soon = { ...later, health: healthOf(one, NOW_MS + 60_000, { checkIntervalMs: 6e7 }) };
  const { written } = await watch([later, soon, undefined, undefined, later]);
  ok(!CONTROL.test(written));
  const words = written.trimEnd().split("\n").map((line) => line.slice(25));
  deepEqual(words, [
    "ok: 1 mount has a valid credential; the next renewal is in 3h",
    "no answer: ask: no \u{fffd}one",
    "ok: 1 mount has a valid credential; the next renewal is in 3h",
  ]);
  const json = await watch([later, undefined], { output: "json", terminal: true });
  const lines = json.written.trimEnd().split("\n").map((line) => JSON.parse(line));
  deepEqual([lines[0]?.level, typeof lines[1]?.error], ["ok", "string"]);
});

Deno.test("docs/operations.md has every exit code of status", async () => {
  const docs = await Deno.readTextFile(new URL("../../../docs/operations.md", import.meta.url));
  const rows = docs.split("\n").map((row) => row.split("|").map((cell) => cell.trim()));
  const table = (keep: (key: string) => boolean) =>
    rows.filter((cells) => keep(cells[1] ?? "")).map((cells) => [cells[1], cells[2]]);
  deepEqual(
    table((key) => /^\d$/.test(key)).map(([code, level]) => [Number(code), level]),
    [
      [LEVEL_EXIT.ok, "`ok`"],
      [EXIT.failed, "no agent answers"],
      [EXIT.badConfig, "bad configuration or usage"],
      [LEVEL_EXIT.warning, "`warning`"],
      [LEVEL_EXIT.critical, "`critical`"],
    ],
  );
});

Deno.test("watchStatus: ends when whoever read has gone", async () => {
  const host = new FakeHost();
  host.isRead = false;
  const context = { host, clock: new FakeClock() } as unknown as Context;
  const told = toldOf(oneImage().status);
  equal(await watchStatus(context, () => Promise.resolve(told), "json"), 0);
  equal(host.signal("SIGINT"), 0, "nobody listens any more");
});

Deno.test("watchStatus: the sentence keeps its end, what to do, on a narrow screen", async () => {
  const { written } = await watch([toldOf(crowdedNode(300).status)], { terminal: true, rows: 24 });
  const screen = written.split("\x1b[H\x1b[J")[1] ?? "";
  // deno-lint-ignore no-control-regex
  const lines = screen.replace(/\x1b\[\d*m/g, "").split("\n");
  const head = lines.slice(0, lines.indexOf("")).map((line) => line.trim()).join("");
  ok(lines.indexOf("") > 1 && head.endsWith("/team-0/service-0:v1.0"), head);
  ok(lines.every((line) => [...line].length <= 60));
});

Deno.test("wrapped: between words, what paints takes no room, and not for ever", () => {
  deepEqual(wrapped("00:00:00  \x1b[31mcritical\x1b[0m: one two", 20), [
    "00:00:00  \x1b[31mcritical\x1b[0m:",
    "          one two",
  ]);
  deepEqual(wrapped("00:00:00  longer-than-the-screen is", 22), [
    "00:00:00  longer-than-",
    "          the-screen",
    "          is",
  ]);
  const long = wrapped("word ".repeat(200).trim(), 40);
  deepEqual([long.length, long.at(-1)?.trim()], [8, "…"]);
});

Deno.test("statusText: mounts in trouble come first", () => {
  const lines = statusText(crowdedNode(300).status, NOW_MS, { colour: true }).split("\n");
  const from = lines.findIndex((line) => line.startsWith("DAEMON"));
  const states = lines.slice(from + 1, from + 301)
    // deno-lint-ignore no-control-regex
    .map((line) => line.replace(/\x1b\[\d+m/g, "").split(/ {2,}/)[3] ?? "");
  const last = states.lastIndexOf("refused");
  ok(last >= 0 && states.slice(0, last + 1).every((state) => state === "refused"), String(last));
  ok(lines[from + 1]?.includes("\x1b[33mrefused\x1b[0m"));
});

Deno.test("clipped: what paints takes no room and survives", () => {
  equal(clipped("ab\x1b[31mcd\x1b[0mef", 3), "ab\x1b[31mc\x1b[0m");
  equal(clipped("äöü€x", 4), "äöü€");
});
