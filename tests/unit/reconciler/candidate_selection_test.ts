import { deepEqual, equal } from "node:assert/strict";
import {
  type Candidate,
  type Credential,
  encodeRegistryAuth,
  parseImageReference,
  type ProviderName,
  type RafsInstance,
  type Resolution,
  Secret,
} from "../../../lib/model/mod.ts";
import { Selections } from "../../../lib/reconciler/candidate_selection.ts";
import type { Selector } from "../../../lib/reconciler/context.ts";
import { type Mount, MountRecords } from "../../../lib/reconciler/mounts.ts";
import type { SelectionRequest } from "../../../lib/verification/mod.ts";
import type { StoreEntry } from "../../../lib/credentials/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";

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

const INSTANCE: RafsInstance = { daemonId: "d1", snapshotId: "1", image: IMAGE };
const MOUNT: Mount = {
  instance: INSTANCE,
  daemon: {
    id: "d1",
    apiSocket: "/run/d1.sock",
    source: "configured",
    state: "running",
    configApi: "supported",
    instances: [INSTANCE],
  },
};
const auth = (password: string) =>
  encodeRegistryAuth({ kind: "basic", username: "u", password: new Secret(password) });

/** A selector that selects the last candidate, and reports a single one as exhausted. */
class Stage {
  readonly observer = new FakeObserver();
  readonly requests: SelectionRequest[] = [];
  readonly records = new MountRecords();
  mounts: readonly Mount[] = [];
  keep = false;

  selections(selector: Selector = this.#selector()): Selections {
    return new Selections({
      selector,
      observer: this.observer,
      clock: new FakeClock(),
      mounts: { of: () => this.mounts },
      records: this.records,
    });
  }

  #selector(): Selector {
    return {
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
  }
}

Deno.test("Selections: uses the first candidate of the chain without a selector", async () => {
  const selections = new Stage().selections();
  const found = resolution([["docker", "a"], ["kubelet", "b"]]);
  const bare = new Selections({
    observer: new FakeObserver(),
    clock: new FakeClock(),
    mounts: { of: () => [] },
    records: new MountRecords(),
  });
  const decision = await bare.decide(ENTRY, found, { readsRefused: false, requestedAtMs: 0 });
  equal(decision?.kind === "use" && decision.provider, "docker");
  equal(
    await selections.decide(ENTRY, resolution([]), { readsRefused: false, requestedAtMs: 0 }),
    undefined,
  );
});

Deno.test("Selections: requests every provider once when all candidates are refused", async () => {
  const stage = new Stage();
  let calls = 0;
  const decision = await stage.selections().decide(ENTRY, resolution([["docker", "a"]]), {
    readsRefused: true,
    requestedAtMs: 0,
    resolveAll: () => {
      calls++;
      return Promise.resolve(resolution([["docker", "a"], ["kubelet", "b"]]));
    },
  });
  deepEqual(stage.requests.map(({ offered }) => offered.length), [1, 2]);
  deepEqual(stage.requests.map(({ readsRefused }) => readsRefused), [true, false]);
  equal(calls, 1);
  deepEqual(decision, {
    kind: "use",
    provider: "kubelet",
    candidates: [candidate("b"), candidate("a")],
    selectionReason: "because",
  });
  equal(stage.observer.of("candidate-selected")[0]?.otherCandidates, 1);
});

Deno.test("Selections: the credential in nydusd is in use when the store has none", async () => {
  const stage = new Stage();
  stage.keep = true;
  stage.mounts = [MOUNT];
  stage.records.set("d1/1", { state: "pending", failures: 0, currentAuth: auth("current") });
  const decision = await stage.selections().decide(ENTRY, resolution([["docker", "a"]]), {
    readsRefused: false,
    requestedAtMs: 0,
  });
  deepEqual(decision, { kind: "keep", detail: "because" });
  equal(stage.requests[0]?.inUse?.provider, "adopted");
  equal(stage.observer.events.length, 0);
});

Deno.test("Selections: does not probe a credential at an unapproved host", async () => {
  const stage = new Stage();
  const host = { role: "registry", scheme: "https", host: "unapproved.example" } as const;
  const backend = { host: host.host, skipVerify: false, caFiles: ["/ca.pem"], mirrors: [] };
  const at = (approvedBy?: string): Mount => ({
    ...MOUNT,
    instance: {
      ...INSTANCE,
      backend,
      endpoint: { host: host.host, hosts: [{ ...host, ...(approvedBy && { approvedBy }) }] },
    },
  });
  const found = resolution([["docker", "a"], ["kubelet", "b"]]);
  stage.mounts = [at()];
  const unverified = await stage.selections().decide(ENTRY, found, {
    readsRefused: true,
    requestedAtMs: 0,
  });
  equal(
    unverified?.kind === "use" && unverified.provider,
    "docker",
    "the first of the chain, without a probe",
  );
  equal(stage.requests.length, 0);
  stage.records.set("d1/1", { state: "stored", failures: 0, currentAuth: auth("b") });
  for (const readsRefused of [false, true]) {
    const kept = await stage.selections().decide(ENTRY, found, { readsRefused, requestedAtMs: 0 });
    const expected = readsRefused ? "docker" : "kubelet";
    equal(kept?.kind === "use" && kept.provider, expected, "the one in use until it is refused");
  }
  equal(stage.requests.length, 0);
  stage.mounts = [at("delivery.allowed_hosts")];
  await stage.selections().decide(ENTRY, found, { readsRefused: true, requestedAtMs: 0 });
  const { host: probed, caFiles } = stage.requests[0]?.target ?? {};
  deepEqual([probed, caFiles], ["unapproved.example", ["/ca.pem"]], "the way nydusd reads");
});
