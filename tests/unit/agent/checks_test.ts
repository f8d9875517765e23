import { deepEqual, equal, match } from "node:assert/strict";
import type { CheckFindings } from "../../../lib/agent/check_node.ts";
import { checkExecution, checkLifetime, type Execution } from "../../../lib/agent/check_image.ts";
import { checkAddress, runChecks } from "../../../lib/agent/checks.ts";
import { checkHost, isAgent } from "../../../lib/agent/check_host.ts";
import { canWrite } from "../../../lib/agent/check_node.ts";
import type { Context } from "../../../lib/platform/mod.ts";
import { type AgentConfig, loadConfig } from "../../../lib/config/mod.ts";
import type { Candidate, FileStat } from "../../../lib/model/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeHost } from "../../fakes/host.ts";
import { FakeProcessRunner } from "../../fakes/process.ts";

const HOUR_MS = 3_600_000;

function findings(): CheckFindings {
  return { problems: [], warnings: [], passed: [] };
}

function texts({ problems, warnings }: CheckFindings): string[] {
  return [...problems, ...warnings].map(({ file, problem }) => `${file}: ${problem}`);
}

const CONFIG = {
  files: [],
  providers: { kubelet: { enabled: false }, docker: { enabled: false } },
} as unknown as AgentConfig;

/** Checks a host with these processes. */
async function hostWith(
  { processes = [], files = new FakeFiles(), wallMs = Date.UTC(2026, 0, 1), agentAnswers = false }:
    {
      readonly processes?: readonly (readonly string[])[];
      readonly files?: FakeFiles;
      readonly wallMs?: number;
      readonly agentAnswers?: boolean;
    },
): Promise<CheckFindings> {
  const lines = processes.map((argv, i) => `${i + 100}\u0001${argv.join("\u0001")}\u0001\n`);
  const found = findings();
  const context = {
    host: new FakeHost(),
    clock: new FakeClock(wallMs),
    files,
    processRunner: new FakeProcessRunner(() => lines.join("")),
  } as unknown as Context;
  await checkHost(context, CONFIG, found, { agentAnswers });
  return found;
}

Deno.test("checkHost: warns about two agents on one node, and ignores other processes", async () => {
  const agent = ["/usr/local/bin/nydus-auth-agent", "run", "--config", "/a"];
  const other = ["nydus-auth-agent", "status", "--wait"];
  const shell = ["/bin/sh", "-c", "nydus-auth-agent run"];
  deepEqual(texts(await hostWith({ processes: [agent, other, shell] })), []);
  match(
    texts(await hostWith({ processes: [agent, other, agent] }))[0] ?? "",
    /^nydus-auth-agent: 2 agents run on this node \(processes 100, 102\): both renew/,
  );
  equal(isAgent({ pid: 1, argv: ["/opt/nydus-auth-agent", "--x", "run"] }), true);
  equal(isAgent({ pid: 1, argv: ["/opt/nydus-auth-agent-other", "run"] }), false);
});

Deno.test("checkHost: does not report an agent that answers as absent", async () => {
  const agents = async (agentAnswers: boolean) =>
    (await hostWith({ agentAnswers })).passed.find((text) => text.startsWith("agents: "));
  equal(await agents(false), "agents: none runs here");
  equal(await agents(true), "agents: one answers, its process is not visible here");
});

Deno.test("checkHost: reports a wrong clock, and one that is not synchronized yet", async () => {
  const lost = await hostWith({ wallMs: 1_000 });
  match(texts(lost)[0] ?? "", /^the clock: it is wrong: 1970-01-01T00:00:01\.000Z/);
  equal(lost.problems.length, 1);
  const files = new FakeFiles();
  files.set("/run/systemd/timesync", "", "directory");
  match(texts(await hostWith({ files }))[0] ?? "", /systemd-timesyncd has not set it yet/);
  files.set("/run/systemd/timesync/synchronized");
  deepEqual(texts(await hostWith({ files })), []);
});

Deno.test("checkLifetime: warns when the lead time is too long, and when a credential has expired", () => {
  const clock = new FakeClock();
  const check = (leadTimeMs: number | "auto", lifetimeMs: number | undefined) => {
    const found = findings();
    const candidate = {
      fetchedAtMs: clock.wallMs(),
      watched: false,
      ...(lifetimeMs !== undefined && { expiresAtMs: clock.wallMs() + lifetimeMs }),
    } as unknown as Candidate;
    const renewal = { leadTimeMs, refreshIntervalMs: 240_000 } as AgentConfig["renewal"];
    checkLifetime({ clock }, { renewal }, "i", candidate, found);
    return found;
  };
  deepEqual(texts(check("auto", HOUR_MS)), []);
  deepEqual(texts(check(HOUR_MS - 1, HOUR_MS)), []);
  deepEqual(texts(check(2 * HOUR_MS, HOUR_MS)), [
    "i: its lifetime is 1h and renewal.lead_time is 2h: it would be renewed constantly",
  ]);
  equal(texts(check(HOUR_MS, HOUR_MS)).length, 1);
  deepEqual(texts(check("auto", -60_000)), [
    "i: the provider returned a credential that expired 1m ago",
  ]);
  deepEqual(check("auto", undefined).passed, [
    "i: the credential has no expiry; it is renewed every 4m",
  ]);
});

Deno.test("checkExecution: reports durations, and warns when one is close to its timeout", () => {
  const kubelet = { timeoutMs: 60_000 };
  const docker = { helperTimeoutMs: 10_000 };
  const config = { providers: { kubelet, docker } } as unknown as AgentConfig;
  const ran = (parts: Partial<Execution>) => {
    const found = findings();
    const kind = "plugin-executed";
    const execution = { kind, provider: "kubelet", plugin: "p", result: "success" } as const;
    checkExecution("i", { ...execution, durationMs: 6_000, ...parts }, config, found);
    return [...found.passed, ...texts(found)];
  };
  deepEqual(ran({}), ["i: plugin p returned a credential in 6s"]);
  deepEqual(ran({ result: "none" }), ["i: plugin p returned no credential in 6s"]);
  deepEqual(ran({ durationMs: 31_000 }), [
    "i: plugin p returned a credential in 31s",
    "plugin p: it took 31s of its timeout of 1m",
  ]);
  deepEqual(ran({ provider: "docker", plugin: "ecr-login" }), [
    "i: helper ecr-login returned a credential in 6s",
    "helper ecr-login: it took 6s of its timeout of 10s",
  ]);
  // The failure is reported by its own finding.
  deepEqual(ran({ result: "timeout", durationMs: 60_000 }), []);
  deepEqual(ran({ result: "failure" }), []);
});

Deno.test("canWrite: follows the mode for the owner and for others, not for root", () => {
  const stat = (mode: number, uid = 7) => ({ mode, uid }) as FileStat;
  equal(canWrite(stat(0o500), 0), true);
  equal(canWrite(stat(0o700), 7), true);
  equal(canWrite(stat(0o577), 7), false);
  equal(canWrite(stat(0o755), 8), false);
  equal(canWrite(stat(0o775), 8), true);
});

Deno.test("checkAddress: distinguishes an agent from another program that listens there", async () => {
  const csp = { "content-security-policy": "default-src 'none'" };
  const cases = [
    [new Response("ok\n", { headers: csp }), true],
    [new Response("starting", { headers: csp, status: 503 }), true],
    [new Response("hello", { headers: csp }), false],
    [new Response("ok\n"), false],
    [new Response("starting", { status: 503 }), false],
  ] as const;
  for (const [response, isAgent] of cases) {
    await using server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      () => response,
    );
    const found = findings();
    const address = { hostname: "127.0.0.1", port: server.addr.port };
    await checkAddress(address, "server.address", found);
    equal(found.passed.length, isAgent ? 1 : 0);
    equal(found.problems.length, isAgent ? 0 : 1);
  }
  const free = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = free.addr;
  free.close();
  const found = findings();
  await checkAddress({ hostname: "127.0.0.1", port }, "server.address", found);
  deepEqual(found, findings());
});

Deno.test("runChecks: warns about a missing docker configuration only if a key names it", async () => {
  const files = new FakeFiles();
  const context = {
    host: Object.assign(new FakeHost(), { env: { HOME: "/nowhere" } }),
    clock: new FakeClock(Date.UTC(2026, 0, 1)),
    files,
    processRunner: new FakeProcessRunner(() => ""),
  } as unknown as Context;
  const warningsWith = async (toml: string) => {
    files.set("/etc/nydus-auth-agent/config.toml", toml);
    const config = await loadConfig(context, {});
    const { warnings } = await runChecks(context, config, { refs: [], probe: false });
    return warnings.filter(({ remedy }) => remedy.includes("docker login"));
  };
  const off = '[server]\naddress = "off"\n';
  deepEqual(await warningsWith(off), []);
  const named = await warningsWith(`${off}[providers.docker]\nconfig = "/no/config.json"\n`);
  deepEqual(named.map(({ file }) => file), ["/no/config.json"]);
});
