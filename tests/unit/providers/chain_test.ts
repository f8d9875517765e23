import { deepEqual, doesNotMatch, equal, rejects } from "node:assert/strict";
import {
  AgentError,
  type CredentialProvider,
  type ProviderName,
  type ProviderOutcome,
  Secret,
} from "../../../lib/model/mod.ts";
import { AnswerDeadline } from "../../../lib/model/mod.ts";
import { CredentialChain, type CriPulls, pulledProvider } from "../../../lib/providers/mod.ts";
import { FakeClock, settle } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { ask } from "./exec_plugin/plugins.ts";

const NONE: ProviderOutcome = { kind: "none", reason: "no-pull-observed", notes: [] };

function found(origin: string): ProviderOutcome {
  const credential = { kind: "basic", username: "u", password: new Secret("p") } as const;
  const candidate = { credential, origin, fetchedAtMs: 0, watched: false };
  return { kind: "found", reason: "found", candidates: [candidate], notes: [] };
}

function chainOf(...answers: readonly (readonly [ProviderName, boolean, () => ProviderOutcome])[]) {
  const asked: ProviderName[] = [];
  const observer = new FakeObserver();
  const providers = answers.map(([name, renewable, answer]): CredentialProvider => ({
    name,
    renewable,
    provide: () => {
      asked.push(name);
      return Promise.resolve(answer());
    },
  }));
  const chain = new CredentialChain({ providers, clock: new FakeClock(), observer });
  return { chain, asked, observer };
}

Deno.test("CredentialChain stops at the first that has a credential", async () => {
  const { chain, asked, observer } = chainOf(
    ["labels", false, () => NONE],
    ["docker", true, () => found("docker")],
    ["kubelet", true, () => found("kubelet")],
  );
  const { winner, attempts } = await chain.resolve(ask("nginx"));
  equal(winner?.provider, "docker");
  equal(winner?.renewable, true);
  deepEqual(asked, ["labels", "docker"]);
  equal(attempts.length, 2);
  deepEqual(observer.of("provider-queried").map(({ provider, outcome }) => [provider, outcome]), [
    ["labels", "none"],
    ["docker", "found"],
  ]);
});

Deno.test("CredentialChain asks only renewable providers for a renewal", async () => {
  const { chain, asked } = chainOf(
    ["labels", false, () => found("labels")],
    ["cri", false, () => found("cri")],
    ["kubelet", true, () => found("kubelet")],
  );
  equal((await chain.resolve(ask("nginx"), { renewal: true })).winner?.provider, "kubelet");
  deepEqual(asked, ["kubelet"]);
});

Deno.test("CredentialChain asks everyone to explain, and the first still wins", async () => {
  const { chain, asked } = chainOf(
    ["docker", true, () => found("docker")],
    ["kubelet", true, () => found("kubelet")],
    ["kubesecret", true, () => NONE],
  );
  const { winner, attempts } = await chain.resolve(ask("nginx"), { all: true });
  equal(winner?.provider, "docker");
  deepEqual(asked, ["docker", "kubelet", "kubesecret"]);
  equal(attempts.length, 3);
});

Deno.test("CredentialChain goes on after a provider that throws, and quotes no foreign error", async () => {
  const { chain } = chainOf(
    ["docker", true, () => JSON.parse("hunter2") as ProviderOutcome],
    ["kubelet", true, () => {
      throw new AgentError("io", "read /etc/x: EACCES");
    }],
    ["kubesecret", true, () => found("kubesecret")],
  );
  const { winner, attempts } = await chain.resolve(ask("nginx"));
  equal(winner?.provider, "kubesecret");
  deepEqual(attempts.slice(0, 2).map(({ outcome }) => outcome.reason), [
    "internal-error",
    "internal-error",
  ]);
  doesNotMatch(JSON.stringify(attempts[0]), /hunter2/);
  const { outcome } = attempts[1] ?? {};
  equal(outcome?.kind === "failed" && outcome.detail, "read /etc/x: EACCES");
});

Deno.test("CredentialChain has no winner when nobody has a credential", async () => {
  const { chain } = chainOf(["docker", true, () => NONE]);
  equal((await chain.resolve(ask("nginx"))).winner, undefined);
});

Deno.test("CredentialChain rejects when it is aborted", async () => {
  const stop = new AbortController();
  const { chain, asked } = chainOf(
    ["docker", true, () => {
      stop.abort(new Error("stop"));
      throw new Error("interrupted");
    }],
    ["kubelet", true, () => found("kubelet")],
  );
  await rejects(chain.resolve(ask("nginx"), { signal: stop.signal }), /stop/);
  deepEqual(asked, ["docker"]);
});

/** Pulls of which one succeeded. */
const PULLS: CriPulls = {
  lookup: () => undefined,
  confirmed: () => ({
    credential: { kind: "basic", username: "u", password: new Secret("pulled") },
    seenAtMs: 7,
  }),
};

/** What a renewal comes to that may fall back on what a pull brought. */
async function renewal(...answers: readonly ProviderOutcome[]) {
  const providers = answers.map((answer, i): CredentialProvider => ({
    name: i === 0 ? "docker" : "kubelet",
    renewable: true,
    provide: () => Promise.resolve(answer),
  }));
  const observer = new FakeObserver();
  const lastResort = pulledProvider(PULLS);
  const chain = new CredentialChain({ providers, lastResort, clock: new FakeClock(), observer });
  return await chain.resolve(ask("nginx"), { renewal: true });
}

Deno.test("CredentialChain falls back on a pull only where nobody has, or may have, anything", async () => {
  const { winner, attempts } = await renewal(NONE, NONE);
  equal(winner?.provider, "cri");
  equal(winner?.candidates[0].fetchedAtMs, 7);
  deepEqual(attempts.map(({ provider }) => provider), ["docker", "kubelet", "cri"]);
  equal((await renewal(NONE, found("kubelet"))).winner?.provider, "kubelet");
  const failed = { kind: "failed", reason: "plugin-timeout", detail: "60s", notes: [] } as const;
  equal((await renewal(failed, NONE)).winner, undefined, "the source may have one");
});

Deno.test("CredentialChain does not bring back by a pull what an account may have no more", async () => {
  equal((await renewal(NONE, { ...NONE, validAccounts: [] })).winner, undefined);
  equal((await renewal(NONE, { ...NONE, validAccounts: "unknown" })).winner, undefined);
});

Deno.test("CredentialChain asks for pulls that succeeded in a renewal alone", async () => {
  const chain = new CredentialChain({
    providers: [],
    lastResort: pulledProvider(PULLS),
    clock: new FakeClock(),
    observer: new FakeObserver(),
  });
  equal((await chain.resolve(ask("nginx"))).winner, undefined);
  const empty = pulledProvider({ lookup: () => undefined, confirmed: () => undefined });
  equal((await empty.provide(ask("nginx"))).kind, "none");
});

Deno.test("CredentialChain: goes on after the deadline, and reports the answer that comes late", async () => {
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
      late: ({ text }) => void late.push(text),
    }),
  });
  const first = chain.resolve(ask("quay.io/a/b:1"));
  await clock.waiting();
  await clock.advance(5_250);
  const { attempts, winner } = await first;
  equal(winner?.provider, "kubelet");
  deepEqual(attempts.map(({ outcome: { reason }, durationMs }) => [reason, durationMs]), [
    ["deadline-exceeded", 5_250],
    ["found", 0],
  ]);
  const second = chain.resolve({ ...ask("mirror.io/a/b:1"), podImage: ask("quay.io/a/b:1").image });
  await clock.waiting();
  await clock.advance(350);
  equal((await second).winner?.provider, "kubelet", "it is not waited for as long again");
  deepEqual(late, []);
  slow.resolve(found("docker"));
  await settle();
  deepEqual(late, ["quay.io/a/b:1", "quay.io/a/b:1"]);
  equal((await chain.resolve(ask("quay.io/a/b:1"))).winner?.provider, "docker");
});

Deno.test("CredentialChain: a late failure is not reported, nor waited for", async () => {
  const clock = new FakeClock();
  const slow = Promise.withResolvers<ProviderOutcome>();
  let late = 0;
  const chain = new CredentialChain({
    providers: [{ name: "docker", renewable: true, provide: () => slow.promise }],
    clock,
    observer: new FakeObserver(),
    deadline: new AnswerDeadline({ clock, timeoutMs: 5_000, late: () => void late++ }),
  });
  const resolution = chain.resolve(ask("quay.io/a/b"));
  await clock.waiting();
  await clock.advance(5_250);
  await resolution;
  slow.reject(new Error("broken"));
  await settle();
  equal(late, 0);
});
