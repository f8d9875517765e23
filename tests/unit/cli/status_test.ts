import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { Context } from "../../../lib/platform/mod.ts";
import { EXIT } from "../../../lib/model/mod.ts";
import { LEVEL_EXIT, status, statusText } from "../../../lib/cli/status.ts";
import { listenUnix } from "../../../lib/platform/mod.ts";
import type { AgentStatus } from "../../../lib/model/mod.ts";
import { healthOf, type NodeStatus, withTextTimes } from "../../../lib/observability/mod.ts";
import { usesColor } from "../../../lib/cli/options.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeHost } from "../../fakes/host.ts";
import { crowdedNode, HOSTILE, hostileNode, oneImage } from "../observability/page/nodes.ts";
import { NOW_MS } from "../observability/status_of.ts";

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

function replyOf(status: AgentStatus): NodeStatus {
  return { ...status, health: healthOf(status, NOW_MS) };
}

/** Runs `status` against an agent that gives these answers; the last one repeats. */
async function ran(
  replies: readonly (NodeStatus | undefined)[],
  given: { brief?: boolean; wait?: boolean; output?: "text" | "json"; timeout?: string } = {},
): Promise<{ readonly code: number; readonly out: string }> {
  const dir = await Deno.makeTempDir({ prefix: "status-" });
  const socket = `${dir}/api.sock`;
  const host = Object.assign(new FakeHost(), {
    env: { NYDUS_AUTH_AGENT_API_SOCKET: socket, NYDUS_AUTH_AGENT_SERVER_ADDRESS: "off" },
  });
  const clock = new FakeClock(NOW_MS);
  let calls = 0;
  await using _agent = await listenUnix(socket, () => {
    const reply = replies[Math.min(calls++, replies.length - 1)];
    if (reply === undefined) return new Response("starting", { status: 503 });
    return Response.json(withTextTimes(reply));
  });
  const options = { brief: false, wait: false, output: "text" as const, timeout: "10s", ...given };
  const context = { host, clock, files: new FakeFiles() } as unknown as Context;
  const call = { context, flags: {}, options } as Parameters<typeof status>[0];
  const ended = status(call).finally(() => Deno.remove(dir, { recursive: true }));
  let isOver = false;
  ended.catch(() => {}).finally(() => isOver = true);
  while (!isOver) {
    await Promise.race([clock.waiting(), ended.catch(() => {})]);
    if (!isOver) await clock.advance(500);
  }
  return { code: await ended, out: host.written };
}

Deno.test("status: prints the summary and the tables, or only the summary with --brief", async () => {
  const reply = replyOf(crowdedNode(7).status);
  const all = await ran([reply]);
  equal(all.code, EXIT.critical);
  match(all.out, /^critical: .*\n\nIMAGE /);
  const brief = await ran([reply], { brief: true });
  equal(brief.out, all.out.split("\n").slice(0, 1).join("\n") + "\n");
  const json = JSON.parse((await ran([reply], { brief: true, output: "json" })).out);
  deepEqual(Object.keys(json), ["summary", "level"]);
  const whole = JSON.parse((await ran([reply], { output: "json" })).out);
  deepEqual(whole, JSON.parse(JSON.stringify(withTextTimes(reply))));
});

Deno.test("status --wait: returns when the agent is ready", async () => {
  const ready = replyOf(oneImage().status);
  const starting = { ...ready, health: { ...ready.health, ready: false } };
  const { code, out } = await ran([undefined, starting, ready], { wait: true, brief: true });
  equal(code, EXIT.ok);
  match(out, /^ok: /);
});

Deno.test("status --wait: fails with the reason after the timeout", async () => {
  const ready = replyOf(oneImage().status);
  const starting = { ...ready, health: { ...ready.health, ready: false, summary: "starting up" } };
  await rejects(ran([starting], { wait: true, timeout: "2s" }), /not ready after 2s: starting up/);
  await rejects(ran([undefined], { wait: true, timeout: "2s" }), /not ready after 2s: failed to/);
  await rejects(ran([ready], { timeout: "later" }), /later/);
});

Deno.test("status: prints colors only in a terminal, and not with NO_COLOR or --no-color", () => {
  const color = (host: Partial<FakeHost>) =>
    usesColor({ host: Object.assign(new FakeHost(), host) } as unknown as Context);
  equal(color({ stdoutIsTerminal: true }), true);
  equal(color({}), false);
  equal(color({ stdoutIsTerminal: true, env: { NO_COLOR: "1" } }), false);
  equal(color({ stdoutIsTerminal: true, args: ["status", "--no-color"] }), false);
});

Deno.test("statusText: prints problems first, every table, and no control characters", () => {
  const text = statusText(crowdedNode(7).status, NOW_MS);
  const lines = text.split("\n");
  match(lines[1] ?? "", / expired +kubelet +1m ago /);
  for (const head of ["IMAGE", "DAEMON", "PROVIDER", "PLUGIN"]) {
    ok(lines.some((line) => line.startsWith(head)), head);
  }
  const hostile = statusText(hostileNode().status, NOW_MS);
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
  );
  match(text, / 1h30m +/);
  match(text, / 12m +/);
  match(text, /^if no provider answers from now on, the first read fails in 12m$/m);
  const unknown = { ...status, daemons: [{ ...daemon, instances: [instance] }] };
  ok(!statusText(unknown, NOW_MS).includes("if no provider"));
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

Deno.test("statusText: lists mounts with problems first", () => {
  const lines = statusText(crowdedNode(300).status, NOW_MS).split("\n");
  const from = lines.findIndex((line) => line.startsWith("DAEMON"));
  const states = lines.slice(from + 1, from + 301)
    // deno-lint-ignore no-control-regex
    .map((line) => line.replace(/\x1b\[\d+m/g, "").split(/ {2,}/)[3] ?? "");
  const last = states.lastIndexOf("refused");
  ok(last >= 0 && states.slice(0, last + 1).every((state) => state === "refused"), String(last));
  ok(lines[from + 1]?.includes(" refused "));
});
