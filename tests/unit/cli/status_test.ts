import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { Context } from "../../../lib/platform/mod.ts";
import { EXIT } from "../../../lib/model/mod.ts";
import { LEVEL_EXIT, watchStatus } from "../../../lib/cli/status.ts";
import type { AgentReply } from "../../../lib/cli/agent_client.ts";
import { clipped, wrapped } from "../../../lib/cli/terminal_text.ts";
import { statusText } from "../../../lib/cli/status_text.ts";
import type { AgentStatus } from "../../../lib/model/mod.ts";
import { healthOf } from "../../../lib/observability/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeHost } from "../../fakes/host.ts";
import { crowdedNode, HOSTILE, hostileNode, oneImage } from "../observability/page/nodes.ts";
import { NOW_MS } from "../observability/status_of.ts";

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

function replyOf(status: AgentStatus): AgentReply {
  return { status, health: healthOf(status, NOW_MS, { checkIntervalMs: 60_000 }) };
}

/** Watches these replies (undefined: no agent answers) until a signal. */
async function watch(
  replies: readonly (AgentReply | undefined)[],
  options: { terminal?: boolean; output?: string; noColor?: boolean; rows?: number } = {},
): Promise<{ readonly code: number; readonly written: string; readonly listeners: number }> {
  const host = new FakeHost();
  host.stdoutIsTerminal = options.terminal ?? false;
  host.size = { columns: 60, rows: options.rows ?? 24 };
  if (options.noColor) host.env["NO_COLOR"] = "1";
  const clock = new FakeClock();
  let index = 0;
  const query = () => {
    const reply = replies[index++];
    return reply === undefined
      ? Promise.reject(new Error("connect: no \u001bagent"))
      : Promise.resolve(reply);
  };
  const context = { host, clock } as unknown as Context;
  const ended = watchStatus(context, query, options.output ?? "text");
  await clock.waiting();
  for (let i = 1; i < replies.length; i++) {
    await clock.advance(2_000);
    await clock.waiting();
  }
  host.signal("SIGINT");
  return { code: await ended, written: host.written, listeners: host.signal("SIGINT") };
}

Deno.test("statusText: prints problems first, every table, and no control characters", () => {
  const text = statusText(crowdedNode(7).status, NOW_MS, { color: false });
  const lines = text.split("\n");
  match(lines[1] ?? "", / expired +kubelet +1m ago /);
  for (const head of ["IMAGE", "DAEMON", "PROVIDER", "PLUGIN"]) {
    ok(lines.some((line) => line.startsWith(head)), head);
  }
  const hostile = statusText(hostileNode().status, NOW_MS, { color: false });
  ok(hostile.includes(HOSTILE.slice(0, 20)));
  ok(!CONTROL.test(hostile));
});

Deno.test("statusText: prints when reads fail without any provider, per mount and for the node", () => {
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
    { color: false },
  );
  match(text, / 1h30m +/);
  match(text, / 12m +/);
  match(text, /^if no provider answers from now on, the first read fails in 12m$/m);
  const unknown = { ...status, daemons: [{ ...daemon, instances: [instance] }] };
  ok(!statusText(unknown, NOW_MS, { color: false }).includes("if no provider"));
});

Deno.test("statusText: keeps the columns when it is colored", () => {
  const { status } = crowdedNode(7);
  const plain = statusText(status, NOW_MS, { color: false });
  const coloredText = statusText(status, NOW_MS, { color: true });
  ok(coloredText.includes("\x1b[31mexpired\x1b[0m"));
  // deno-lint-ignore no-control-regex
  equal(coloredText.replace(/\x1b\[\d+m/g, ""), plain);
});

Deno.test("watchStatus: in a terminal, uses the alternate screen and restores it", async () => {
  const crowd = replyOf(crowdedNode(300).status);
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
  match(screens[1] ?? "", /no .agent; last answer at \d\d:\d\d:\d\d/);
  // deno-lint-ignore no-control-regex
  const widths = (screens[0] ?? "").replace(/\x1b\[\d*m/g, "").split("\n").map((l) =>
    [...l].length
  );
  ok(Math.max(...widths) <= 60);
});

Deno.test("watchStatus: prints no color codes with NO_COLOR", async () => {
  const reply = replyOf(crowdedNode(7).status);
  const { written } = await watch([reply], { terminal: true, noColor: true });
  // deno-lint-ignore no-control-regex
  ok(!/\x1b\[\d*m/.test(written));
  ok((await watch([reply], { terminal: true })).written.includes("\x1b[31m"));
});

Deno.test("watchStatus: in a pipe, prints a plain line when the summary changes", async () => {
  const one = oneImage().status;
  const later = replyOf({ ...one, nowMs: NOW_MS });
  const aMinuteLater = {
    ...later,
    health: healthOf(one, NOW_MS + 60_000, { checkIntervalMs: 6e7 }),
  };
  const { written } = await watch([later, aMinuteLater, undefined, undefined, later]);
  ok(!CONTROL.test(written));
  const texts = written.trimEnd().split("\n").map((line) => line.slice(25));
  deepEqual(texts, [
    "ok: 1 mount has a valid credential; the next renewal is in 3h",
    "no answer: connect: no \u{fffd}agent",
    "ok: 1 mount has a valid credential; the next renewal is in 3h",
  ]);
  const json = await watch([later, undefined], { output: "json", terminal: true });
  const lines = json.written.trimEnd().split("\n").map((line) => JSON.parse(line));
  deepEqual([lines[0]?.level, typeof lines[1]?.error], ["ok", "string"]);
});

Deno.test("docs/operations.md: documents every exit code of status", async () => {
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

Deno.test("watchStatus: ends when the output is closed", async () => {
  const host = new FakeHost();
  host.isRead = false;
  const context = { host, clock: new FakeClock() } as unknown as Context;
  const reply = replyOf(oneImage().status);
  equal(await watchStatus(context, () => Promise.resolve(reply), "json"), 0);
  equal(host.signal("SIGINT"), 0, "no listener is left");
});

Deno.test("watchStatus: wraps the summary on a narrow screen, so that the remedy is visible", async () => {
  const { written } = await watch([replyOf(crowdedNode(300).status)], { terminal: true, rows: 24 });
  const screen = written.split("\x1b[H\x1b[J")[1] ?? "";
  // deno-lint-ignore no-control-regex
  const lines = screen.replace(/\x1b\[\d*m/g, "").split("\n");
  const head = lines.slice(0, lines.indexOf("")).map((line) => line.trim()).join("");
  ok(lines.indexOf("") > 1 && head.endsWith("/team-0/service-0:v1.0"), head);
  ok(lines.every((line) => [...line].length <= 60));
});

Deno.test("wrapped: breaks between words, ignores color codes, and limits the lines", () => {
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

Deno.test("statusText: lists mounts with problems first", () => {
  const lines = statusText(crowdedNode(300).status, NOW_MS, { color: true }).split("\n");
  const from = lines.findIndex((line) => line.startsWith("DAEMON"));
  const states = lines.slice(from + 1, from + 301)
    // deno-lint-ignore no-control-regex
    .map((line) => line.replace(/\x1b\[\d+m/g, "").split(/ {2,}/)[3] ?? "");
  const last = states.lastIndexOf("refused");
  ok(last >= 0 && states.slice(0, last + 1).every((state) => state === "refused"), String(last));
  ok(lines[from + 1]?.includes("\x1b[33mrefused\x1b[0m"));
});

Deno.test("clipped: keeps color codes, which have no width", () => {
  equal(clipped("ab\x1b[31mcd\x1b[0mef", 3), "ab\x1b[31mc\x1b[0m");
  equal(clipped("äöü€x", 4), "äöü€");
});
