/** The log of a node with every kind of problem: each is logged once, then counted. */
import { equal, match, ok } from "node:assert/strict";
import { join } from "@std/path";
import { LOG_EVENTS, type LogEventName } from "../../lib/observability/mod.ts";
import { freePort } from "../../lib/simulator/mod.ts";
import { AgentProcess, command, pause, simNode } from "./stage.ts";

Deno.test("log: does not repeat a line on every reconcile while nothing changes", async () => {
  await using node = simNode({ plugin: { mode: "fail" } });
  const broken = await node.addDaemon({
    id: "stopped",
    mode: "dedicated",
    images: [`${node.passwordRegistry.host}/a:1`],
  });
  const images = ["x", "y"].map((name) => `${node.tokenRegistry.host}/${name}:1`);
  await node.addDaemon({ id: "d1", mode: "shared", images, pair: "token:at-first" });
  await using agent = await AgentProcess.start(node, {
    renewal: 'check_interval = "100ms"\nrefresh_interval = "1s"',
  });
  const [{ configPath = "" } = {}] = broken.instances;
  await Deno.remove(configPath);
  await Deno.mkdir(configPath); // a folder in its place stops root too
  await node.stopSnapshotter();
  node.rotatePassword("second");
  const reconciles = async () => {
    const { body } = await agent.get("/metrics");
    return Number(/^nydus_auth_agent_reconciles_total (\d+)/m.exec(body)?.[1] ?? 0);
  };
  await agent.until("the problems", async () => (await reconciles()) > 3);
  await pause(2_500);
  const before = await reconciles();
  const from = agent.log.length;
  await agent.until("thirty more reconciles", async () => (await reconciles()) >= before + 30);
  const lines = agent.log.slice(from).trimEnd().split("\n").filter((line) => line !== "");
  const counts = new Map<string, number>();
  for (const line of lines) {
    const shape = line.slice(25).replace(/\d+/g, "0");
    counts.set(shape, (counts.get(shape) ?? 0) + 1);
  }
  // At level debug each request to a provider is logged, but a reconcile causes none.
  for (const [shape, count] of counts) {
    const isRenewal = /^debug (?:provider|plugin)-/.test(shape);
    ok(count <= (isRenewal ? 20 : 3), `${count} times in 30 reconciles: ${shape}`);
  }
  broken.signal("SIGSTOP");
  await agent.until("the stopped nydusd", () => /daemon-failing.*\n/.test(agent.log));
  for (
    const words of [
      /warning config-file-failed: failed to write .*\/a:1\): .*; retrying /,
      /warning daemon-failing: nydusd stopped is unresponsive: .*; retrying on every reconcile /,
      /warning discovery-problem: .*; using the last known list and the root folder/,
      /warning plugin-failed: failed to execute .*; retrying after a backoff /,
    ]
  ) match(agent.log, words);
});

Deno.test("log: every line is a documented event, whatever the agent does", async () => {
  await using node = simNode();
  const image = `${node.tokenRegistry.host}/x:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  await using agent = await AgentProcess.start(node);
  const config = ["--config", join(node.dir, "agent.toml")];
  for (
    const words of [
      ["status"],
      ["renew", "--all"],
      ["renew", "quay.io/no/where"],
      ["explain", image],
      ["get", image],
      ["log-level", "set", "info"],
    ]
  ) await command([...words, ...config]);
  for (const path of ["/", "/metrics", "/v1/status", "/images?ref=x", "/nowhere"]) {
    await agent.get(path);
  }
  agent.signal("SIGHUP");
  await agent.until("a reload", () => (agent.log.match(/ config-loaded: /g) ?? []).length === 2);
  for (const line of agent.log.trimEnd().split("\n")) {
    const [, level = "none", event = ""] = /^\S+Z (\w+) ([a-z-]+): /.exec(line) ?? [];
    equal(LOG_EVENTS[event as LogEventName]?.level ?? "warning", level, line);
  }
});

Deno.test("log: prints priorities only for the journal", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node);
  await agent.until("a line", () => agent.log.includes("config-loaded"));
  equal(/^<\d>/m.test(agent.log), false);
});

Deno.test("log: has a line for the start, the stop and a fatal error, in the configured format", async () => {
  await using node = simNode();
  const port = freePort();
  let log = "";
  {
    await using agent = await AgentProcess.start(node, {}, { port });
    const config = join(node.dir, "agent.toml");
    const failed = await command(["run", "--config", config, "--log-format", "json"]);
    equal(failed.code, 1);
    const { event, level, message } = JSON.parse(failed.err.trimEnd().split("\n").at(-1) ?? "");
    equal(`${event} ${level}`, "agent-failed error");
    match(message, new RegExp(`${port}: the port is in use by another process; stop it`));
    agent.signal("SIGTERM");
    await agent.until("the end", () => agent.log.includes("agent-stopped"));
    log = agent.log;
  }
  match(
    log,
    new RegExp(`info agent-started: .* listeners=127.0.0.1:${port},\\S+/api.sock providers=`),
  );
  match(log, /info agent-stopped: stopped after \S+: received SIGTERM /);
});
