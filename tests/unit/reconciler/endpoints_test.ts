import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type Candidate,
  type CredentialRequest,
  type Daemon,
  decodeRegistryAuth,
  encodeRegistryAuth,
  type Endpoint,
  endpointOf,
  parseImageReference,
  Secret,
} from "../../../lib/model/mod.ts";
import { Reconciler } from "../../../lib/reconciler/mod.ts";
import { CredentialStore } from "../../../lib/credentials/mod.ts";
import { FakeClock, settle } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { FakeRandom } from "../../fakes/random.ts";

const IMAGE = parseImageReference("registry.example.com/app:v1");
const SECOND = 1_000;

/** A place that the image is read from; `named` says whether anybody names it. */
async function placeAt(host: string, named: boolean): Promise<Endpoint> {
  const backend = { host, skipVerify: false, caFiles: [], mirrors: [] };
  const place = await endpointOf(
    IMAGE,
    backend,
    () => Promise.resolve(named ? "a test" : undefined),
  );
  ok(place);
  return place;
}

/** A node whose mounts serve one image from several places. */
class Stage {
  readonly clock = new FakeClock();
  readonly observer = new FakeObserver();
  readonly store = new CredentialStore({
    settings: { leadTimeMs: "auto", refreshIntervalMs: 240 * SECOND },
    seed: "node",
    random: new FakeRandom(),
  });
  readonly requests: CredentialRequest[] = [];
  readonly currentAuth = new Map<string, Secret>();
  daemons: Daemon[] = [];
  /** Passwords by registry: an entry for the place goes before the image's. */
  passwords: Record<string, string> = {};
  /** Failed and tried reads of each daemon. */
  readonly reads = new Map<string, { reads: number; errors: number }>();
  readonly #stages = (unapprovedHostPolicy: "warn" | "refuse") => ({
    discoverer: { look: () => Promise.resolve({ daemons: this.view(), problems: [] }) },
    resolver: { resolve: (request: CredentialRequest) => Promise.resolve(this.resolve(request)) },
    deliverer: {
      deliver: (
        { daemon, credential }: { daemon: Daemon; credential: Candidate["credential"] },
      ) => {
        ok(credential.kind === "basic");
        this.currentAuth.set(daemon.id, encodeRegistryAuth(credential));
        const file = { kind: "written" } as const;
        return Promise.resolve({ kind: "delivered" as const, file });
      },
    },
    readCounter: {
      backendReads: (socket: string) => {
        const value = this.reads.get(socket) ?? { reads: 0, errors: 0 };
        return Promise.resolve({ kind: "ok" as const, value });
      },
    },
    checkIntervalMs: 60 * SECOND,
    renewalEnabled: true,
    unapprovedHostPolicy,
  });
  readonly reconciler: Reconciler;

  constructor(unapprovedHostPolicy: "warn" | "refuse" = "warn") {
    const { store, observer, clock } = this;
    const inUseDelayMs = () => 0;
    this.reconciler = new Reconciler(
      { store, observer, clock, inUseDelayMs },
      this.#stages(unapprovedHostPolicy),
    );
  }

  mount(id: string, endpoint?: Endpoint, pair = ""): void {
    this.currentAuth.set(id, new Secret(pair === "" ? "" : btoa(pair)));
    this.daemons.push({
      id,
      pid: 1,
      apiSocket: id,
      source: "system-api",
      state: "running",
      version: "2.4.4",
      configApi: "supported",
      instances: [{
        daemonId: id,
        snapshotId: id,
        mountId: "/",
        image: IMAGE,
        ...(endpoint && { endpoint }),
      }],
    });
  }

  view(): readonly Daemon[] {
    return this.daemons.map((daemon) => ({
      ...daemon,
      currentAuth: new Map([["/", this.currentAuth.get(daemon.id) ?? new Secret("")]]),
    }));
  }

  resolve(request: CredentialRequest) {
    this.requests.push(request);
    const { image, endpoint } = request;
    const there = endpoint && this.passwords[endpoint.registry];
    const password = there ?? this.passwords[image.registry];
    const candidate: Candidate | undefined = password === undefined ? undefined : {
      credential: { kind: "basic", username: "u", password: new Secret(password) },
      origin: "a test",
      fetchedAtMs: this.clock.wallMs(),
      watched: true,
      ...(there !== undefined && { forEndpoint: true }),
    };
    return {
      image,
      attempts: [],
      ...(candidate && {
        winner: { provider: "docker" as const, renewable: true, candidates: [candidate] as const },
      }),
    };
  }

  holds(id: string): string {
    const credential = decodeRegistryAuth(this.currentAuth.get(id)?.reveal() ?? "");
    return credential?.kind === "basic" ? credential.password.reveal() : "";
  }

  statusOf(id: string) {
    return this.reconciler.status().daemons.find((daemon) => daemon.id === id)?.instances[0];
  }

  async run(work: () => Promise<void>): Promise<void> {
    const stop = new AbortController();
    const running = this.reconciler.run({ signal: stop.signal });
    try {
      for (let i = 0; i < 4; i++) await settle();
      await work();
    } finally {
      stop.abort();
      await running;
    }
  }
}

Deno.test("mounts of one image that read from different places hold different credentials", async () => {
  const stage = new Stage("refuse");
  stage.mount("direct");
  stage.mount("keyed", await placeAt("keyed:5000", true));
  stage.mount("keyless", await placeAt("keyless:5000", true));
  stage.mount("again", await placeAt("keyed:5000", true));
  stage.passwords = { "registry.example.com": "own", "keyed:5000": "mirror" };
  await stage.run(async () => {
    const currentAuth = () => ["direct", "keyed", "keyless", "again"].map((id) => stage.holds(id));
    deepStrictEqual(currentAuth(), ["own", "mirror", "own", "mirror"]);
    strictEqual(stage.requests.length, 3, "one question a place");
    stage.passwords = { "registry.example.com": "own2", "keyed:5000": "mirror2" };
    stage.reconciler.recheck();
    await settle();
    await settle();
    deepStrictEqual(currentAuth(), ["own2", "mirror2", "own2", "mirror2"]);
    const { images } = stage.reconciler.status();
    deepStrictEqual(images.map(({ image }) => image), [IMAGE.text, IMAGE.text, IMAGE.text]);
    deepStrictEqual(
      images.map(({ endpoint, foundFor }) => [endpoint, foundFor]),
      [[undefined, undefined], ["keyed:5000/app:v1", "endpoint"], [
        "keyless:5000/app:v1",
        "registry",
      ]],
    );
    strictEqual(stage.statusOf("keyed")?.hostApprovedBy, "a test");
  });
  deepStrictEqual(stage.observer.of("unapproved-host"), []);
});

/** A token that tells its end, in seconds since the epoch. */
function jwt(name: string, exp: number): string {
  const part = (value: unknown) =>
    new TextEncoder().encode(JSON.stringify(value)).toBase64({ alphabet: "base64url" });
  return `${part({ alg: "none" })}.${part({ name, exp })}.x`;
}

Deno.test("a longer-lived token of the image's registry does not stay at a place with its own", async () => {
  const stage = new Stage("refuse");
  const endS = stage.clock.wallMs() / 1_000;
  const long = jwt("registry", endS + 9_000);
  stage.mount("direct", undefined, `u:${long}`);
  stage.mount("keyed", await placeAt("keyed:5000", true), `u:${long}`);
  stage.passwords = {
    "registry.example.com": jwt("registry", endS + 3_000),
    "keyed:5000": jwt("mirror", endS + 3_000),
  };
  await stage.run(() => {
    strictEqual(stage.holds("direct"), long, "somebody renewed it");
    strictEqual(stage.holds("keyed"), stage.passwords["keyed:5000"]);
    return Promise.resolve();
  });
});

Deno.test("refuse: a host that nobody named is never given the image's credential", async () => {
  const stage = new Stage("refuse");
  stage.mount("foreign", await placeAt("foreign:5000", false), "u:held");
  stage.mount("empty", await placeAt("foreign:5000", false));
  stage.passwords = { "registry.example.com": "own" };
  await stage.run(async () => {
    deepStrictEqual([stage.holds("foreign"), stage.holds("empty")], ["held", ""]);
    await stage.clock.advance(300 * SECOND);
    deepStrictEqual([stage.holds("foreign"), stage.holds("empty")], ["held", ""]);
    strictEqual(stage.statusOf("foreign")?.delivery, "withheld");
    deepStrictEqual(stage.statusOf("foreign")?.unapprovedHosts, ["foreign:5000"]);
    ok(stage.statusOf("empty")?.deliveryDetail?.includes("delivery.allowed_hosts"));
  });
  deepStrictEqual(
    stage.observer.of("unapproved-host").map(({ daemonId, action }) => [daemonId, action]),
    [["foreign", "withheld"], ["empty", "withheld"]],
  );
  deepStrictEqual(stage.observer.of("delivery-attempted"), []);
});

Deno.test("refuse: an entry for the host itself names it", async () => {
  const stage = new Stage("refuse");
  stage.mount("foreign", await placeAt("foreign:5000", false));
  stage.passwords = { "registry.example.com": "own", "foreign:5000": "its" };
  await stage.run(async () => {
    strictEqual(stage.holds("foreign"), "its");
    // The entry is taken away: the image's does not take its place.
    stage.passwords = { "registry.example.com": "own" };
    stage.reconciler.recheck();
    await settle();
    await settle();
    strictEqual(stage.holds("foreign"), "its");
    strictEqual(stage.statusOf("foreign")?.delivery, "withheld");
  });
});

Deno.test("refuse: it is given once the host is named", async () => {
  const stage = new Stage("refuse");
  stage.mount("foreign", await placeAt("foreign:5000", false));
  stage.passwords = { "registry.example.com": "own" };
  await stage.run(async () => {
    strictEqual(stage.holds("foreign"), "");
    stage.daemons = [];
    stage.mount("foreign", await placeAt("foreign:5000", true));
    stage.reconciler.trigger("node-changed");
    await stage.clock.advance(SECOND);
    strictEqual(stage.holds("foreign"), "own");
    strictEqual(stage.statusOf("foreign")?.unapprovedHosts, undefined);
  });
});

Deno.test("warn: it is given, and said once for each mount", async () => {
  const stage = new Stage("warn");
  stage.mount("foreign", await placeAt("foreign:5000", false));
  stage.passwords = { "registry.example.com": "own" };
  await stage.run(async () => {
    strictEqual(stage.holds("foreign"), "own");
    await stage.clock.advance(600 * SECOND);
    stage.passwords = { "registry.example.com": "own2" };
    stage.reconciler.recheck();
    await settle();
    await settle();
    strictEqual(stage.holds("foreign"), "own2");
    deepStrictEqual(stage.statusOf("foreign")?.unapprovedHosts, ["foreign:5000"]);
  });
  deepStrictEqual(
    stage.observer.of("unapproved-host").map(({ hosts, action }) => [hosts, action]),
    [[["foreign:5000"], "delivered"]],
  );
});

Deno.test("an adopted credential stays at its place", async () => {
  const stage = new Stage("refuse");
  stage.mount("direct", undefined, "u:direct");
  stage.mount("mirror", await placeAt("mirror:5000", true), "u:mirror");
  stage.mount("mirror2", await placeAt("mirror:5000", true));
  stage.mount("other", await placeAt("other:5000", true));
  await stage.run(async () => {
    await stage.clock.advance(61 * SECOND);
    strictEqual(stage.holds("direct"), "direct");
    strictEqual(stage.holds("mirror"), "mirror");
    strictEqual(stage.holds("mirror2"), "mirror", "what its place's other mount held");
    strictEqual(stage.holds("other"), "", "nobody's at that place");
  });
});

Deno.test("refuse: an adopted credential is not given to another mount at a host without a name", async () => {
  const stage = new Stage("refuse");
  stage.mount("one", await placeAt("foreign:5000", false), "u:held");
  stage.mount("two", await placeAt("foreign:5000", false));
  await stage.run(async () => {
    await stage.clock.advance(61 * SECOND);
    deepStrictEqual([stage.holds("one"), stage.holds("two")], ["held", ""]);
    strictEqual(stage.statusOf("one")?.delivery, "adopted");
    strictEqual(stage.statusOf("two")?.delivery, "withheld");
  });
});

Deno.test("a refusal at one place renews that place's credential alone", async () => {
  const stage = new Stage("refuse");
  stage.mount("direct");
  stage.mount("keyed", await placeAt("keyed:5000", true));
  stage.passwords = { "registry.example.com": "own", "keyed:5000": "mirror" };
  await stage.run(async () => {
    for (const id of ["direct", "keyed"]) stage.reads.set(id, { reads: 1, errors: 0 });
    await stage.clock.advance(4 * SECOND);
    const before = stage.requests.length;
    stage.reads.set("keyed", { reads: 2, errors: 1 });
    stage.reads.set("direct", { reads: 2, errors: 0 });
    await stage.clock.advance(4 * SECOND);
    const forced = stage.requests.slice(before);
    deepStrictEqual(
      forced.map(({ endpoint, refused }) => [endpoint?.registry, refused !== undefined]),
      [
        ["keyed:5000", true],
      ],
    );
    strictEqual(forced[0]?.endpointInUse, true);
  });
});

Deno.test("an entry is dropped with the last mount that reads from its place", async () => {
  const stage = new Stage("refuse");
  stage.mount("direct");
  stage.mount("keyed", await placeAt("keyed:5000", true));
  stage.passwords = { "registry.example.com": "own", "keyed:5000": "mirror" };
  await stage.run(async () => {
    strictEqual(stage.store.size, 2);
    stage.daemons = stage.daemons.slice(0, 1);
    await stage.clock.advance(600 * SECOND);
    strictEqual(stage.store.size, 1);
    ok(stage.store.get(IMAGE.text));
  });
  deepStrictEqual(stage.observer.of("credential-evicted"), [
    { kind: "credential-evicted", image: IMAGE.text, endpoint: "keyed:5000/app:v1" },
  ]);
});
