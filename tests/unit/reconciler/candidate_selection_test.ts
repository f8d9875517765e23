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
import { MountRecords, Selections, type Selector } from "../../../lib/reconciler/mod.ts";
import type { Mount } from "../../../lib/reconciler/mounts.ts";
import type { SelectionRequest } from "../../../lib/verification/mod.ts";
import type { StoreEntry } from "../../../lib/credentials/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";

const IMAGE = parseImageReference("registry.example.com/app:1");
const ENTRY: StoreEntry = {
  image: IMAGE,
  attempts: { unproductive: 0, draw: 0 },
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

/** Elections before an elector that takes the last offer and calls single ones refused. */
class Stage {
  readonly observer = new FakeObserver();
  readonly requests: SelectionRequest[] = [];
  readonly book = new MountRecords();
  mounts: readonly Mount[] = [];
  keep = false;

  selections(selector: Selector | undefined = this.#selector()): Selections {
    return new Selections({
      selector,
      observer: this.observer,
      clock: new FakeClock(),
      mounts: { of: () => this.mounts },
      book: this.book,
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

Deno.test("Elections: without an elector the chain's first is taken", async () => {
  const selections = new Stage().selections();
  const found = resolution([["docker", "a"], ["kubelet", "b"]]);
  const bare = new Selections({
    selector: undefined,
    observer: new FakeObserver(),
    clock: new FakeClock(),
    mounts: { of: () => [] },
    book: new MountRecords(),
  });
  const decision = await bare.decide(ENTRY, found, { readsRefused: false, queriedAtMs: 0 });
  equal(decision?.kind === "take" && decision.provider, "docker");
  equal(
    await selections.decide(ENTRY, resolution([]), { readsRefused: false, queriedAtMs: 0 }),
    undefined,
  );
});

Deno.test("Elections: where all that was offered is refused every provider is asked, once", async () => {
  const stage = new Stage();
  let askedAll = 0;
  const decision = await stage.selections().decide(ENTRY, resolution([["docker", "a"]]), {
    readsRefused: true,
    queriedAtMs: 0,
    queryAll: () => {
      askedAll++;
      return Promise.resolve(resolution([["docker", "a"], ["kubelet", "b"]]));
    },
  });
  deepEqual(stage.requests.map(({ offered }) => offered.length), [1, 2]);
  deepEqual(stage.requests.map(({ readsRefused }) => readsRefused), [true, false]);
  equal(askedAll, 1);
  deepEqual(decision, {
    kind: "take",
    provider: "kubelet",
    candidates: [candidate("b"), candidate("a")],
    selectionReason: "because",
  });
  equal(stage.observer.of("candidate-selected")[0]?.otherCandidates, 1);
});

Deno.test("Elections: what a mount holds counts as in use where the store knows nothing", async () => {
  const stage = new Stage();
  stage.keep = true;
  stage.mounts = [MOUNT];
  stage.book.set("d1/1", { state: "pending", failures: 0, currentAuth: auth("held") });
  const decision = await stage.selections().decide(ENTRY, resolution([["docker", "a"]]), {
    readsRefused: false,
    queriedAtMs: 0,
  });
  deepEqual(decision, { kind: "keep", detail: "because" });
  equal(stage.requests[0]?.inUse?.provider, "adopted");
  equal(stage.observer.events.length, 0);
});

Deno.test("Elections: a credential is not shown to a host that nobody named, not even to ask it", async () => {
  const stage = new Stage();
  const host = { role: "registry", scheme: "https", host: "stranger.example" } as const;
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
  const unseen = await stage.selections().decide(ENTRY, found, {
    readsRefused: true,
    queriedAtMs: 0,
  });
  equal(unseen?.kind === "take" && unseen.provider, "docker", "the chain's first, unseen");
  equal(stage.requests.length, 0);
  stage.book.set("d1/1", { state: "stored", failures: 0, currentAuth: auth("b") });
  for (const readsRefused of [false, true]) {
    const kept = await stage.selections().decide(ENTRY, found, { readsRefused, queriedAtMs: 0 });
    const expected = readsRefused ? "docker" : "kubelet";
    equal(kept?.kind === "take" && kept.provider, expected, "the one in use, until it is refused");
  }
  equal(stage.requests.length, 0);
  stage.mounts = [at("delivery.allowed_hosts")];
  await stage.selections().decide(ENTRY, found, { readsRefused: true, queriedAtMs: 0 });
  const { host: asked, caFiles } = stage.requests[0]?.target ?? {};
  deepEqual([asked, caFiles], ["stranger.example", ["/ca.pem"]], "as nydusd reaches it");
});
