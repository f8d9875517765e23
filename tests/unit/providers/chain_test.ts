import { deepEqual, doesNotMatch, equal, rejects } from "node:assert/strict";
import {
  AgentError,
  type CredentialProvider,
  type ProviderName,
  type ProviderOutcome,
  Secret,
} from "../../../lib/model/mod.ts";
import { AnswerDeadline } from "../../../lib/model/mod.ts";
import {
  confirmedPullProvider,
  CredentialChain,
  type CriPulls,
} from "../../../lib/providers/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { requestFor } from "./exec_plugin/plugins.ts";

const NONE: ProviderOutcome = { kind: "none", reason: "no-pull-observed", notes: [] };

function found(origin: string): ProviderOutcome {
  const credential = { kind: "basic", username: "u", password: new Secret("p") } as const;
  const candidate = { credential, origin, fetchedAtMs: 0, watched: false };
  return { kind: "found", reason: "found", candidates: [candidate], notes: [] };
}

function chainOf(...answers: readonly (readonly [ProviderName, boolean, () => ProviderOutcome])[]) {
  const queried: ProviderName[] = [];
  const observer = new FakeObserver();
  const providers = answers.map(([name, renewable, answer]): CredentialProvider => ({
    name,
    renewable,
    provide: () => {
      queried.push(name);
      return Promise.resolve(answer());
    },
  }));
  const chain = new CredentialChain({ providers, clock: new FakeClock(), observer });
  return { chain, queried, observer };
}

Deno.test("CredentialChain: stops at the first provider that finds a credential", async () => {
  const { chain, queried, observer } = chainOf(
    ["labels", false, () => NONE],
    ["docker", true, () => found("docker")],
    ["kubelet", true, () => found("kubelet")],
  );
  const { winner, attempts } = await chain.resolve(requestFor("nginx"));
  equal(winner?.provider, "docker");
  equal(winner?.renewable, true);
  deepEqual(queried, ["labels", "docker"]);
  equal(attempts.length, 2);
  deepEqual(observer.of("provider-queried").map(({ provider, outcome }) => [provider, outcome]), [
    ["labels", "none"],
    ["docker", "found"],
  ]);
});

Deno.test("CredentialChain: queries only renewable providers for a renewal", async () => {
  const { chain, queried } = chainOf(
    ["labels", false, () => found("labels")],
    ["cri", false, () => found("cri")],
    ["kubelet", true, () => found("kubelet")],
  );
  equal((await chain.resolve(requestFor("nginx"), { renewal: true })).winner?.provider, "kubelet");
  deepEqual(queried, ["kubelet"]);
});

Deno.test("CredentialChain: queries every provider with `all`, and the first one still wins", async () => {
  const { chain, queried } = chainOf(
    ["docker", true, () => found("docker")],
    ["kubelet", true, () => found("kubelet")],
    ["kubesecret", true, () => NONE],
  );
  const { winner, attempts } = await chain.resolve(requestFor("nginx"), { all: true });
  equal(winner?.provider, "docker");
  deepEqual(queried, ["docker", "kubelet", "kubesecret"]);
  equal(attempts.length, 3);
});

Deno.test("CredentialChain: continues after a provider that throws, without quoting a foreign error", async () => {
  const { chain } = chainOf(
    ["docker", true, () => JSON.parse("hunter2") as ProviderOutcome],
    ["kubelet", true, () => {
      throw new AgentError("io", "read /etc/x: EACCES");
    }],
    ["kubesecret", true, () => found("kubesecret")],
  );
  const { winner, attempts } = await chain.resolve(requestFor("nginx"));
  equal(winner?.provider, "kubesecret");
  deepEqual(attempts.slice(0, 2).map(({ outcome }) => outcome.reason), [
    "internal-error",
    "internal-error",
  ]);
  doesNotMatch(JSON.stringify(attempts[0]), /hunter2/);
  const { outcome } = attempts[1] ?? {};
  equal(outcome?.kind === "failed" && outcome.detail, "read /etc/x: EACCES");
});

Deno.test("CredentialChain: has no winner when no provider finds a credential", async () => {
  const { chain } = chainOf(["docker", true, () => NONE]);
  equal((await chain.resolve(requestFor("nginx"))).winner, undefined);
});

Deno.test("CredentialChain: rejects when aborted", async () => {
  const stop = new AbortController();
  const { chain, queried } = chainOf(
    ["docker", true, () => {
      stop.abort(new Error("stop"));
      throw new Error("interrupted");
    }],
    ["kubelet", true, () => found("kubelet")],
  );
  await rejects(chain.resolve(requestFor("nginx"), { signal: stop.signal }), /stop/);
  deepEqual(queried, ["docker"]);
});

/** Observed pulls, one of them confirmed. */
const PULLS: CriPulls = {
  lookup: () => undefined,
  confirmed: () => ({
    credential: { kind: "basic", username: "u", password: new Secret("pulled") },
    seenAtMs: 7,
  }),
};

/** Resolves a renewal with a confirmed pull as the last resort. */
async function renewal(...answers: readonly ProviderOutcome[]) {
  const providers = answers.map((answer, i): CredentialProvider => ({
    name: i === 0 ? "docker" : "kubelet",
    renewable: true,
    provide: () => Promise.resolve(answer),
  }));
  const observer = new FakeObserver();
  const lastResort = confirmedPullProvider(PULLS);
  const chain = new CredentialChain({ providers, lastResort, clock: new FakeClock(), observer });
  return await chain.resolve(requestFor("nginx"), { renewal: true });
}

Deno.test("CredentialChain: falls back to a confirmed pull only when no provider has or may have a credential", async () => {
  const { winner, attempts } = await renewal(NONE, NONE);
  equal(winner?.provider, "cri");
  equal(winner?.candidates[0].fetchedAtMs, 7);
  deepEqual(attempts.map(({ provider }) => provider), ["docker", "kubelet", "cri"]);
  equal((await renewal(NONE, found("kubelet"))).winner?.provider, "kubelet");
  const failed = { kind: "failed", reason: "plugin-timeout", detail: "60s", notes: [] } as const;
  equal((await renewal(failed, NONE)).winner, undefined, "the source may have a credential");
});

Deno.test("CredentialChain: does not fall back to a pull when a plugin runs per service account", async () => {
  equal((await renewal(NONE, { ...NONE, validAccounts: [] })).winner, undefined);
  equal((await renewal(NONE, { ...NONE, validAccounts: "unknown" })).winner, undefined);
});

Deno.test("CredentialChain: uses confirmed pulls only in a renewal", async () => {
  const chain = new CredentialChain({
    providers: [],
    lastResort: confirmedPullProvider(PULLS),
    clock: new FakeClock(),
    observer: new FakeObserver(),
  });
  equal((await chain.resolve(requestFor("nginx"))).winner, undefined);
  const empty = confirmedPullProvider({ lookup: () => undefined, confirmed: () => undefined });
  equal((await empty.provide(requestFor("nginx"))).kind, "none");
});

Deno.test("CredentialChain: continues after the deadline and reports a late outcome", async () => {
  const clock = new FakeClock();
  const slow = Promise.withResolvers<ProviderOutcome>();
  const late: string[] = [];
  const chain = new CredentialChain({
    providers: [
      { name: "docker", renewable: true, provide: () => slow.promise },
      { name: "kubelet", renewable: true, provide: () => Promise.resolve(found("kubelet")) },
    ],
    clock,
    observer: new FakeObserver(),
    deadline: new AnswerDeadline({
      clock,
      timeoutMs: 5_000,
      onLateAnswer: ({ text }) => void late.push(text),
    }),
  });
  const first = chain.resolve(requestFor("quay.io/a/b:1"));
  await clock.waiting();
  await clock.advance(5_250);
  const { attempts, winner } = await first;
  equal(winner?.provider, "kubelet");
  deepEqual(attempts.map(({ outcome: { reason }, durationMs }) => [reason, durationMs]), [
    ["deadline-exceeded", 5_250],
    ["found", 0],
  ]);
  const second = chain.resolve({
    ...requestFor("mirror.io/a/b:1"),
    podImage: requestFor("quay.io/a/b:1").image,
  });
  await clock.waiting();
  await clock.advance(350);
  equal((await second).winner?.provider, "kubelet", "an overdue provider gets less time");
  deepEqual(late, []);
  slow.resolve(found("docker"));
  await flushTasks();
  deepEqual(late, ["quay.io/a/b:1", "quay.io/a/b:1"]);
  equal((await chain.resolve(requestFor("quay.io/a/b:1"))).winner?.provider, "docker");
});

Deno.test("CredentialChain: does not report a late failure", async () => {
  const clock = new FakeClock();
  const slow = Promise.withResolvers<ProviderOutcome>();
  let late = 0;
  const chain = new CredentialChain({
    providers: [{ name: "docker", renewable: true, provide: () => slow.promise }],
    clock,
    observer: new FakeObserver(),
    deadline: new AnswerDeadline({ clock, timeoutMs: 5_000, onLateAnswer: () => void late++ }),
  });
  const resolution = chain.resolve(requestFor("quay.io/a/b"));
  await clock.waiting();
  await clock.advance(5_250);
  await resolution;
  slow.reject(new Error("broken"));
  await flushTasks();
  equal(late, 0);
});
