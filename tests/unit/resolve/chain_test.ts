import { deepEqual, doesNotMatch, equal, rejects } from "node:assert/strict";
import {
  AgentError,
  type CredentialProvider,
  type ProviderName,
  type ProviderOutcome,
  Secret,
} from "../../../lib/model/mod.ts";
import { CredentialChain } from "../../../lib/resolve/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { ask } from "./plugins.ts";

const NONE: ProviderOutcome = { kind: "none", reason: "not-seen", notes: [] };

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
  deepEqual(observer.of("provider-asked").map(({ provider, outcome }) => [provider, outcome]), [
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
