import { deepEqual, equal, match } from "node:assert/strict";
import type { CheckFindings } from "../../../lib/cli/check_findings.ts";
import { checkHost, isAgent } from "../../../lib/cli/check_host.ts";
import { checkExecution, checkLifetime, type Execution } from "../../../lib/cli/check_image.ts";
import { mayWrite } from "../../../lib/cli/check_node.ts";
import type { Context } from "../../../lib/platform/mod.ts";
import type { AgentConfig } from "../../../lib/config/mod.ts";
import type { Candidate, FileStat } from "../../../lib/model/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeHost } from "../../fakes/host.ts";
import { FakeProcessRunner } from "../../fakes/process.ts";

const HOUR_MS = 3_600_000;

function findings(): CheckFindings {
  return { problems: [], warnings: [], fine: [] };
}

function words({ problems, warnings }: CheckFindings): string[] {
  return [...problems, ...warnings].map(({ file, problem }) => `${file}: ${problem}`);
}

const CONFIG = {
  files: [],
  providers: { kubelet: { enabled: false }, docker: { enabled: false } },
} as unknown as AgentConfig;

/** What is said of a host with these processes (one a line, arguments after the pid). */
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

Deno.test("checkHost: two agents on one node, and what is none", async () => {
  const agent = ["/usr/local/bin/nydus-auth-agent", "run", "--config", "/a"];
  const other = ["nydus-auth-agent", "status", "--watch"];
  const shell = ["/bin/sh", "-c", "nydus-auth-agent run"];
  deepEqual(words(await hostWith({ processes: [agent, other, shell] })), []);
  match(
    words(await hostWith({ processes: [agent, other, agent] }))[0] ?? "",
    /^nydus-auth-agent: 2 of them run on this node \(processes 100, 102\): both renew/,
  );
  equal(isAgent({ pid: 1, argv: ["/opt/nydus-auth-agent", "--x", "run"] }), true);
  equal(isAgent({ pid: 1, argv: ["/opt/nydus-auth-agent-other", "run"] }), false);
});

Deno.test("checkHost: an agent that answers is not said to be absent", async () => {
  const said = async (agentAnswers: boolean) =>
    (await hostWith({ agentAnswers })).fine.find((text) => text.startsWith("agents: "));
  equal(await said(false), "agents: none runs here");
  equal(await said(true), "agents: one answers, its process is not visible here");
});

Deno.test("checkHost: a clock that lost its time, and one that nobody has set yet", async () => {
  const lost = await hostWith({ wallMs: 1_000 });
  match(words(lost)[0] ?? "", /^the clock: it says 1970-01-01T00:00:01\.000Z, which is long ago/);
  equal(lost.problems.length, 1);
  const files = new FakeFiles();
  files.set("/run/systemd/timesync", "", "directory");
  match(words(await hostWith({ files }))[0] ?? "", /systemd-timesyncd has not set it yet/);
  files.set("/run/systemd/timesync/synchronized");
  deepEqual(words(await hostWith({ files })), []);
});

Deno.test("checkLife: tokens against the lead time, dead on arrival, without an end", () => {
  const clock = new FakeClock();
  const said = (leadTimeMs: number | "auto", lifetimeMs: number | undefined) => {
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
  deepEqual(words(said("auto", HOUR_MS)), []);
  deepEqual(words(said(HOUR_MS - 1, HOUR_MS)), []);
  deepEqual(words(said(2 * HOUR_MS, HOUR_MS)), [
    "i: tokens live 1h and renewal.lead_time is 2h: it would renew all the time",
  ]);
  equal(words(said(HOUR_MS, HOUR_MS)).length, 1);
  deepEqual(words(said("auto", -60_000)), ["i: the source gave a credential that ended 1m ago"]);
  deepEqual(said("auto", undefined).fine, [
    "i: the credential tells no end; it is asked for every 4m",
  ]);
});

Deno.test("checkExecution: how long each took, and which is near its own limit", () => {
  const kubelet = { timeoutMs: 60_000 };
  const docker = { helperTimeoutMs: 10_000 };
  const config = { providers: { kubelet, docker } } as unknown as AgentConfig;
  const ran = (parts: Partial<Execution>) => {
    const found = findings();
    const kind = "plugin-executed";
    const execution = { kind, provider: "kubelet", plugin: "p", result: "success" } as const;
    checkExecution("i", { ...execution, durationMs: 6_000, ...parts }, config, found);
    return [...found.fine, ...words(found)];
  };
  deepEqual(ran({}), ["i: plugin p answered in 6s"]);
  deepEqual(ran({ result: "none" }), ["i: plugin p answered in 6s that it has none"]);
  deepEqual(ran({ durationMs: 31_000 }), [
    "i: plugin p answered in 31s",
    "plugin p: it took 31s of the 1m that it may take",
  ]);
  deepEqual(ran({ provider: "docker", plugin: "ecr-login" }), [
    "i: helper ecr-login answered in 6s",
    "helper ecr-login: it took 6s of the 10s that it may take",
  ]);
  // The provider's own words tell what failed.
  deepEqual(ran({ result: "timeout", durationMs: 60_000 }), []);
  deepEqual(ran({ result: "failure" }), []);
});

Deno.test("mayWrite: root may, an owner by his bits, others by theirs", () => {
  const stat = (mode: number, uid = 7) => ({ mode, uid }) as FileStat;
  equal(mayWrite(stat(0o500), 0), true);
  equal(mayWrite(stat(0o700), 7), true);
  equal(mayWrite(stat(0o577), 7), false);
  equal(mayWrite(stat(0o755), 8), false);
  equal(mayWrite(stat(0o775), 8), true);
});
