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
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { selectFirst } from "../../fakes/selector.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { FakeRandom } from "../../fakes/random.ts";

const IMAGE = parseImageReference("registry.example.com/app:v1");
const SECOND = 1_000;

/** An endpoint that the image is read from. */
async function endpointAt(host: string, isApproved: boolean): Promise<Endpoint> {
  const backend = { host, skipVerify: false, caFiles: [], mirrors: [] };
  const endpoint = await endpointOf(
    IMAGE,
    backend,
    () => Promise.resolve(isApproved ? "a test" : undefined),
  );
  ok(endpoint);
  return endpoint;
}

/** A node whose mounts read one image from several endpoints. */
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
  /** Passwords by registry; an entry for the endpoint takes precedence over the image's. */
  passwords: Record<string, string> = {};
  /** Read counters of each daemon. */
  readonly reads = new Map<string, { reads: number; errors: number }>();
  readonly #stages = (unapprovedHostPolicy: "warn" | "refuse") => ({
    discoverer: { discover: () => Promise.resolve({ daemons: this.view(), problems: [] }) },
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
      { store, observer, clock, inUseDelayMs, selector: selectFirst },
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
    const forEndpoint = endpoint && this.passwords[endpoint.registry];
    const password = forEndpoint ?? this.passwords[image.registry];
    const candidate: Candidate | undefined = password === undefined ? undefined : {
      credential: { kind: "basic", username: "u", password: new Secret(password) },
      origin: "a test",
      fetchedAtMs: this.clock.wallMs(),
      watched: true,
      ...(forEndpoint !== undefined && { forEndpoint: true }),
    };
    if (candidate === undefined) return { image, attempts: [] };
    const [provider, candidates] = ["docker" as const, [candidate] as const];
    const outcome = { kind: "found" as const, reason: "found" as const, candidates, notes: [] };
    return {
      image,
      attempts: [{ provider, outcome, durationMs: 0 }],
      winner: { provider, renewable: true, candidates },
    };
  }

  passwordOf(id: string): string {
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
      for (let i = 0; i < 4; i++) await flushTasks();
      await work();
    } finally {
      stop.abort();
      await running;
    }
  }
}

Deno.test("Reconciler: mounts of one image with different endpoints get different credentials", async () => {
  const stage = new Stage("refuse");
  stage.mount("direct");
  stage.mount("keyed", await endpointAt("keyed:5000", true));
  stage.mount("keyless", await endpointAt("keyless:5000", true));
  stage.mount("again", await endpointAt("keyed:5000", true));
  stage.passwords = { "registry.example.com": "own", "keyed:5000": "mirror" };
  await stage.run(async () => {
    const passwords = () =>
      ["direct", "keyed", "keyless", "again"].map((id) => stage.passwordOf(id));
    deepStrictEqual(passwords(), ["own", "mirror", "own", "mirror"]);
    strictEqual(stage.requests.length, 3, "one request per endpoint");
    stage.passwords = { "registry.example.com": "own2", "keyed:5000": "mirror2" };
    stage.reconciler.recheck();
    await flushTasks();
    await flushTasks();
    deepStrictEqual(passwords(), ["own2", "mirror2", "own2", "mirror2"]);
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

/** A token with an expiry in seconds since the epoch. */
function jwt(name: string, exp: number): string {
  const part = (value: unknown) =>
    new TextEncoder().encode(JSON.stringify(value)).toBase64({ alphabet: "base64url" });
  return `${part({ alg: "none" })}.${part({ name, exp })}.x`;
}

Deno.test("Reconciler: a token of the endpoint replaces a token of the registry that expires later", async () => {
  const stage = new Stage("refuse");
  const nowS = stage.clock.wallMs() / 1_000;
  const long = jwt("registry", nowS + 9_000);
  stage.mount("direct", undefined, `u:${long}`);
  stage.mount("keyed", await endpointAt("keyed:5000", true), `u:${long}`);
  stage.passwords = {
    "registry.example.com": jwt("registry", nowS + 3_000),
    "keyed:5000": jwt("mirror", nowS + 3_000),
  };
  await stage.run(() => {
    strictEqual(stage.passwordOf("direct"), long, "renewed by another client");
    strictEqual(stage.passwordOf("keyed"), stage.passwords["keyed:5000"]);
    return Promise.resolve();
  });
});

Deno.test("Unapproved host, refuse: never receives the credential of the image", async () => {
  const stage = new Stage("refuse");
  stage.mount("foreign", await endpointAt("foreign:5000", false), "u:current");
  stage.mount("empty", await endpointAt("foreign:5000", false));
  stage.passwords = { "registry.example.com": "own" };
  await stage.run(async () => {
    deepStrictEqual([stage.passwordOf("foreign"), stage.passwordOf("empty")], ["current", ""]);
    await stage.clock.advance(300 * SECOND);
    deepStrictEqual([stage.passwordOf("foreign"), stage.passwordOf("empty")], ["current", ""]);
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

Deno.test("Unapproved host, refuse: is approved by a credential for the host itself", async () => {
  const stage = new Stage("refuse");
  stage.mount("foreign", await endpointAt("foreign:5000", false));
  stage.passwords = { "registry.example.com": "own", "foreign:5000": "foreign" };
  await stage.run(async () => {
    strictEqual(stage.passwordOf("foreign"), "foreign");
    // Without that credential the image's is not delivered.
    stage.passwords = { "registry.example.com": "own" };
    stage.reconciler.recheck();
    await flushTasks();
    await flushTasks();
    strictEqual(stage.passwordOf("foreign"), "foreign");
    strictEqual(stage.statusOf("foreign")?.delivery, "withheld");
  });
});

Deno.test("Unapproved host, refuse: receives the credential once the host is approved", async () => {
  const stage = new Stage("refuse");
  stage.mount("foreign", await endpointAt("foreign:5000", false));
  stage.passwords = { "registry.example.com": "own" };
  await stage.run(async () => {
    strictEqual(stage.passwordOf("foreign"), "");
    stage.daemons = [];
    stage.mount("foreign", await endpointAt("foreign:5000", true));
    stage.reconciler.trigger("node-changed");
    await stage.clock.advance(SECOND);
    strictEqual(stage.passwordOf("foreign"), "own");
    strictEqual(stage.statusOf("foreign")?.unapprovedHosts, undefined);
  });
});

Deno.test("Unapproved host, warn: receives the credential and is reported once per mount", async () => {
  const stage = new Stage("warn");
  stage.mount("foreign", await endpointAt("foreign:5000", false));
  stage.passwords = { "registry.example.com": "own" };
  await stage.run(async () => {
    strictEqual(stage.passwordOf("foreign"), "own");
    await stage.clock.advance(600 * SECOND);
    stage.passwords = { "registry.example.com": "own2" };
    stage.reconciler.recheck();
    await flushTasks();
    await flushTasks();
    strictEqual(stage.passwordOf("foreign"), "own2");
    deepStrictEqual(stage.statusOf("foreign")?.unapprovedHosts, ["foreign:5000"]);
  });
  deepStrictEqual(
    stage.observer.of("unapproved-host").map(({ hosts, action }) => [hosts, action]),
    [[["foreign:5000"], "delivered"]],
  );
});

Deno.test("Reconciler: shares an adopted credential only with mounts of the same endpoint", async () => {
  const stage = new Stage("refuse");
  stage.mount("direct", undefined, "u:direct");
  stage.mount("mirror", await endpointAt("mirror:5000", true), "u:mirror");
  stage.mount("mirror2", await endpointAt("mirror:5000", true));
  stage.mount("other", await endpointAt("other:5000", true));
  await stage.run(async () => {
    await stage.clock.advance(61 * SECOND);
    strictEqual(stage.passwordOf("direct"), "direct");
    strictEqual(stage.passwordOf("mirror"), "mirror");
    strictEqual(stage.passwordOf("mirror2"), "mirror", "from the other mount of the endpoint");
    strictEqual(stage.passwordOf("other"), "", "no other mount of that endpoint");
  });
});

Deno.test("Unapproved host, refuse: another mount does not receive an adopted credential", async () => {
  const stage = new Stage("refuse");
  stage.mount("one", await endpointAt("foreign:5000", false), "u:current");
  stage.mount("two", await endpointAt("foreign:5000", false));
  await stage.run(async () => {
    await stage.clock.advance(61 * SECOND);
    deepStrictEqual([stage.passwordOf("one"), stage.passwordOf("two")], ["current", ""]);
    strictEqual(stage.statusOf("one")?.delivery, "adopted");
    strictEqual(stage.statusOf("two")?.delivery, "withheld");
  });
});

Deno.test("Reconciler: a refusal at one endpoint renews only its credential", async () => {
  const stage = new Stage("refuse");
  stage.mount("direct");
  stage.mount("keyed", await endpointAt("keyed:5000", true));
  stage.passwords = { "registry.example.com": "own", "keyed:5000": "mirror" };
  await stage.run(async () => {
    for (const id of ["direct", "keyed"]) stage.reads.set(id, { reads: 1, errors: 0 });
    await stage.clock.advance(5 * SECOND);
    const before = stage.requests.length;
    stage.reads.set("keyed", { reads: 2, errors: 1 });
    stage.reads.set("direct", { reads: 2, errors: 0 });
    await stage.clock.advance(5 * SECOND);
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

Deno.test("Reconciler: evicts an entry after the last mount of its endpoint", async () => {
  const stage = new Stage("refuse");
  stage.mount("direct");
  stage.mount("keyed", await endpointAt("keyed:5000", true));
  stage.passwords = { "registry.example.com": "own", "keyed:5000": "mirror" };
  await stage.run(async () => {
    strictEqual([...stage.store.entries()].length, 2);
    stage.daemons = stage.daemons.slice(0, 1);
    await stage.clock.advance(600 * SECOND);
    strictEqual([...stage.store.entries()].length, 1);
    ok(stage.store.get(IMAGE.text));
  });
  deepStrictEqual(stage.observer.of("credential-evicted"), [
    { kind: "credential-evicted", image: IMAGE.text, endpoint: "keyed:5000/app:v1" },
  ]);
});
