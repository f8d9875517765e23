import { deepEqual, equal } from "node:assert/strict";
import {
  type Candidate,
  type Credential,
  type Daemon,
  defined,
  encodeRegistryAuth,
  parseImageReference,
  type ProviderName,
  type RafsInstance,
  type Resolution,
  Secret,
} from "../../../lib/model/mod.ts";
import { candidateInUse, resolveEntry } from "../../../lib/reconciler/candidate_selection.ts";
import type { ReconcilerContext } from "../../../lib/reconciler/mod.ts";
import { type InstanceRecord, Mounts } from "../../../lib/reconciler/mounts.ts";
import type { SelectionRequest } from "../../../lib/verification/mod.ts";
import { CredentialStore, type StoreEntry } from "../../../lib/credentials/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { FakeRandom } from "../../fakes/random.ts";

const IMAGE = parseImageReference("registry.example.com/app:1");
const ENTRY: StoreEntry = {
  image: IMAGE,
  attempts: { unproductive: 0, jitter: 0 },
  renewals: { success: 0, failure: 0 },
};

function basic(password: string): Credential {
  return { kind: "basic", username: "u", password: new Secret(password) };
}

function candidate(name: string): Candidate {
  return { credential: basic(name), origin: name, fetchedAtMs: 0, watched: true };
}

function resolution(found: readonly (readonly [ProviderName, string])[]): Resolution {
  const attempts = found.map(([provider, name]) => ({
    provider,
    durationMs: 0,
    outcome: {
      kind: "found" as const,
      reason: "found" as const,
      candidates: [candidate(name)] as const,
      notes: [],
    },
  }));
  const [first] = attempts;
  const winner = first && {
    provider: first.provider,
    renewable: true,
    candidates: first.outcome.candidates,
  };
  return { image: IMAGE, attempts, ...(winner && { winner }) };
}

const INSTANCE: RafsInstance = { snapshotId: "1", image: IMAGE };
const DAEMON: Daemon = {
  id: "d1",
  apiSocket: "/run/d1.sock",
  source: "configured",
  state: "running",
  configApi: "supported",
  instances: [INSTANCE],
};
const newStore = () =>
  new CredentialStore({
    settings: { leadTimeMs: "auto", refreshIntervalMs: 240_000 },
    seed: "node",
    random: new FakeRandom(),
  });
const auth = (password: string) =>
  encodeRegistryAuth({ kind: "basic", username: "u", password: new Secret(password) });

/** A selector that selects the last candidate, and reports a single one as exhausted. */
class Stage {
  readonly observer = new FakeObserver();
  readonly requests: SelectionRequest[] = [];
  /** Whether all providers were requested, for each request. */
  readonly resolved: boolean[] = [];
  /** The other changes of the requests. */
  readonly changes: unknown[] = [];
  readonly mounts = new Mounts();
  keep = false;
  readonly selector: ReconcilerContext["selector"] = {
    select: (request) => {
      this.requests.push(request);
      const winner = request.offered.at(-1) ?? { provider: "docker", candidate: candidate("") };
      return Promise.resolve({
        kind: this.keep ? "kept" : "selected",
        winner,
        otherCandidates: request.offered.slice(0, -1),
        reason: this.keep ? "kept" : "accepted",
        detail: "because",
        exhausted: request.offered.length === 1,
      });
    },
  };

  mount(instance: RafsInstance, record?: InstanceRecord): void {
    this.mounts.observe([{ ...DAEMON, instances: [instance] }], 0);
    for (const mount of this.mounts.all) if (record) mount.record = record;
  }

  /** Decides with the results of the requests in order. */
  async decide(readsRefused: boolean, ...results: Resolution[]) {
    const { selector, observer, mounts } = this;
    const context = {
      selector,
      observer,
      mounts,
      clock: new FakeClock(),
      store: newStore(),
      stages: () => ({ resolver: { resolve: () => Promise.reject(new Error("not called")) } }),
    };
    const { decision } = await resolveEntry(context, ENTRY, {
      resolve: (all, change) => {
        this.resolved.push(all);
        this.changes.push(change);
        return Promise.resolve(results.shift() ?? resolution([]));
      },
      readsRefused,
    });
    return decision;
  }
}

const FOUND = resolution([["docker", "a"], ["kubelet", "b"]]);

Deno.test("resolveEntry: makes no decision when no provider has a credential", async () => {
  equal(await new Stage().decide(false, resolution([])), undefined);
});

Deno.test("resolveEntry: requests every provider once when all candidates are refused", async () => {
  for (const readsRefused of [false, true]) {
    const stage = new Stage();
    const decision = await stage.decide(readsRefused, resolution([["docker", "a"]]), FOUND);
    deepEqual(stage.resolved, readsRefused ? [true] : [false, true]);
    const refused = stage.requests.map((request) => request.readsRefused);
    deepEqual(refused, readsRefused ? [true] : [false, false]);
    const [provider, name] = readsRefused ? ["docker", "a"] : ["kubelet", "b"];
    deepEqual(decision, {
      kind: "use",
      provider,
      candidate: candidate(name ?? ""),
      selectionReason: "because",
    });
    const others = stage.observer.of("candidate-selected").map((event) => event.otherCandidates);
    deepEqual(others, [readsRefused ? 0 : 1]);
  }
});

Deno.test("resolveEntry: keeps its decision when the providers have nothing else", async () => {
  const stage = new Stage();
  const decision = await stage.decide(false, resolution([["docker", "a"]]), resolution([]));
  equal(decision?.kind, "use");
  deepEqual([stage.resolved, stage.requests.length], [[false, true], 1]);
  deepEqual(stage.changes[1], { allAccounts: true });
});

Deno.test("resolveEntry: the credential in nydusd is in use when the store has none", async () => {
  const stage = new Stage();
  stage.keep = true;
  stage.mount(INSTANCE, { state: "pending", failures: 0, currentAuth: auth("current") });
  const decision = await stage.decide(true, resolution([["docker", "a"]]));
  deepEqual(decision, { kind: "keep", detail: "because" });
  equal(stage.requests[0]?.inUse?.provider, "adopted");
  equal(stage.observer.events.length, 0);
});

Deno.test("candidateInUse: is proven by reads of a mount with the stored credential", () => {
  const store = newStore();
  store.put(IMAGE, { provider: "docker", candidate: candidate("a") }, 0);
  const [entry] = store.entries();
  const stage = new Stage();
  for (
    const [state, provenReads, proven] of [
      ["stored", 3, true],
      ["adopted", 3, true],
      ["stored", undefined, false],
      ["pending", 3, false],
    ] as const
  ) {
    stage.mount(INSTANCE, defined({ state, failures: 0, provenReads }));
    const inUse = candidateInUse({ mounts: stage.mounts, clock: new FakeClock() }, entry!);
    equal(inUse?.proven, proven, `${state} ${provenReads}`);
  }
});

Deno.test("resolveEntry: does not probe a credential at an unapproved host", async () => {
  const stage = new Stage();
  const host = { role: "registry", scheme: "https", host: "unapproved.example" } as const;
  const backend = { host: host.host, skipVerify: false, caFiles: ["/ca.pem"], mirrors: [] };
  const at = (approvedBy?: string): RafsInstance => ({
    ...INSTANCE,
    backend,
    endpoint: { host: host.host, hosts: [{ ...host, ...(approvedBy && { approvedBy }) }] },
  });
  const decide = async (readsRefused: boolean) => {
    const decision = await stage.decide(readsRefused, FOUND);
    return decision?.kind === "use" ? decision.provider : undefined;
  };
  stage.mount(at());
  equal(await decide(true), "docker", "the first of the chain, without a probe");
  stage.mount(at(), { state: "stored", failures: 0, currentAuth: auth("b") });
  equal(await decide(false), "kubelet", "the one in use");
  equal(await decide(true), "docker", "the one in use is refused");
  equal(stage.requests.length, 0);
  stage.mount(at("delivery.allowed_hosts"));
  await decide(true);
  const { host: probed, caFiles } = stage.requests[0]?.target ?? {};
  deepEqual([probed, caFiles], ["unapproved.example", ["/ca.pem"]], "the way nydusd reads");
});
