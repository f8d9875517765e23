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
import { Elections, type ElectorPort, InstanceBook } from "../../../lib/reconciler/mod.ts";
import type { Mount } from "../../../lib/reconciler/mounts.ts";
import type { ElectionRequest } from "../../../lib/verification/mod.ts";
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
  readonly requests: ElectionRequest[] = [];
  readonly book = new InstanceBook();
  mounts: readonly Mount[] = [];
  keep = false;

  elections(elector: ElectorPort | undefined = this.#elector()): Elections {
    return new Elections({
      elector,
      observer: this.observer,
      clock: new FakeClock(),
      mounts: { of: () => this.mounts },
      book: this.book,
    });
  }

  #elector(): ElectorPort {
    return {
      elect: (request) => {
        this.requests.push(request);
        const winner = request.offered.at(-1) ?? { provider: "docker", candidate: candidate("") };
        return Promise.resolve({
          kind: this.keep ? "kept" : "elected",
          winner,
          losers: request.offered.slice(0, -1),
          reason: this.keep ? "kept" : "accepted",
          detail: "because",
          exhausted: request.offered.length === 1,
        });
      },
    };
  }
}

Deno.test("Elections: without an elector the chain's first is taken", async () => {
  const elections = new Stage().elections();
  const found = resolution([["docker", "a"], ["kubelet", "b"]]);
  const bare = new Elections({
    elector: undefined,
    observer: new FakeObserver(),
    clock: new FakeClock(),
    mounts: { of: () => [] },
    book: new InstanceBook(),
  });
  const decision = await bare.decide(ENTRY, found, { readsRefused: false, askedAtMs: 0 });
  equal(decision?.kind === "take" && decision.provider, "docker");
  equal(
    await elections.decide(ENTRY, resolution([]), { readsRefused: false, askedAtMs: 0 }),
    undefined,
  );
});

Deno.test("Elections: where all that was offered is refused every provider is asked, once", async () => {
  const stage = new Stage();
  let askedAll = 0;
  const decision = await stage.elections().decide(ENTRY, resolution([["docker", "a"]]), {
    readsRefused: true,
    askedAtMs: 0,
    askAll: () => {
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
    elected: "because",
  });
  equal(stage.observer.of("credential-elected")[0]?.losers, 1);
});

Deno.test("Elections: what a mount holds counts as in use where the store knows nothing", async () => {
  const stage = new Stage();
  stage.keep = true;
  stage.mounts = [MOUNT];
  stage.book.set("d1/1", { state: "pending", failures: 0, held: auth("held") });
  const decision = await stage.elections().decide(ENTRY, resolution([["docker", "a"]]), {
    readsRefused: false,
    askedAtMs: 0,
  });
  deepEqual(decision, { kind: "keep", detail: "because" });
  equal(stage.requests[0]?.inUse?.provider, "adopted");
  equal(stage.observer.events.length, 0);
});

Deno.test("Elections: a credential is not shown to a host that nobody named, not even to ask it", async () => {
  const stage = new Stage();
  const host = { role: "registry", scheme: "https", host: "stranger.example" } as const;
  const backend = { host: host.host, skipVerify: false, caFiles: ["/ca.pem"], mirrors: [] };
  const at = (namedBy?: string): Mount => ({
    ...MOUNT,
    instance: {
      ...INSTANCE,
      backend,
      endpoint: { host: host.host, hosts: [{ ...host, ...(namedBy && { namedBy }) }] },
    },
  });
  const found = resolution([["docker", "a"], ["kubelet", "b"]]);
  stage.mounts = [at()];
  const unseen = await stage.elections().decide(ENTRY, found, { readsRefused: true, askedAtMs: 0 });
  equal(unseen?.kind === "take" && unseen.provider, "docker", "the chain's first, unseen");
  equal(stage.requests.length, 0);
  stage.book.set("d1/1", { state: "stored", failures: 0, held: auth("b") });
  for (const readsRefused of [false, true]) {
    const kept = await stage.elections().decide(ENTRY, found, { readsRefused, askedAtMs: 0 });
    const expected = readsRefused ? "docker" : "kubelet";
    equal(kept?.kind === "take" && kept.provider, expected, "the one in use, until it is refused");
  }
  equal(stage.requests.length, 0);
  stage.mounts = [at("delivery.allowed_hosts")];
  await stage.elections().decide(ENTRY, found, { readsRefused: true, askedAtMs: 0 });
  const { host: asked, caFiles } = stage.requests[0]?.target ?? {};
  deepEqual([asked, caFiles], ["stranger.example", ["/ca.pem"]], "as nydusd reaches it");
});
