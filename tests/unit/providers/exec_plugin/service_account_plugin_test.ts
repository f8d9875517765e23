import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { accountName, type ProviderOutcome } from "../../../../lib/model/mod.ts";
import { KubeletProvider } from "../../../../lib/providers/mod.ts";
import { FakeClock } from "../../../fakes/clock.ts";
import { Cluster } from "../../../fakes/cluster.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { FakeObserver } from "../../../fakes/observer.ts";
import { FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { CONFIG_PATH, pairs, requestFor, response } from "./plugins.ts";

const IMAGE = "reg.io/app:1";

interface Attributes {
  readonly require?: boolean;
  readonly required?: readonly string[];
  readonly optional?: readonly string[];
  readonly cacheType?: "ServiceAccount" | "Token";
  readonly cacheKeyType?: string;
  readonly duration?: string;
  readonly name?: string;
}

/** Creates a provider with one plugin, which returns its token and annotations as the password. */
function setUp(attributes: Attributes = {}) {
  const { require = true, required = [], optional = [], cacheType = "ServiceAccount" } = attributes;
  const { cacheKeyType: type = "Registry", duration = "1h", name = "p" } = attributes;
  const clock = new FakeClock();
  const cluster = new Cluster(clock);
  const files = new FakeFiles();
  files.set(
    CONFIG_PATH,
    JSON.stringify({
      apiVersion: "kubelet.config.k8s.io/v1",
      kind: "CredentialProviderConfig",
      providers: [{
        name,
        matchImages: ["reg.io", "other.io"],
        defaultCacheDuration: "1h",
        apiVersion: "credentialprovider.kubelet.k8s.io/v1",
        tokenAttributes: {
          serviceAccountTokenAudience: "aud",
          requireServiceAccount: require,
          requiredServiceAccountAnnotationKeys: required,
          optionalServiceAccountAnnotationKeys: optional,
          cacheType,
        },
      }],
    }),
  );
  const runner = new FakeProcessRunner(({ stdin }) => {
    const { serviceAccountToken = "none", serviceAccountAnnotations = {} } = JSON.parse(stdin);
    const password = `${serviceAccountToken} ${JSON.stringify(serviceAccountAnnotations)}`;
    return response({ "*.io": ["u", password] }, { type, duration });
  });
  const settings = {
    signal: new AbortController().signal,
    configPath: CONFIG_PATH,
    binDir: "/bin/plugins",
    timeoutMs: 60_000,
    maxParallel: 4,
    files,
    processRunner: runner,
    clock,
    random: new FakeRandom(),
    observer: new FakeObserver(),
    accounts: () => cluster,
  };
  const provider = new KubeletProvider(settings);
  const outcome = (image = IMAGE) => provider.provide(requestFor(image));
  return { provider, cluster, clock, runner, outcome, settings, files };
}

function reasonAndDetail(outcome: ProviderOutcome): string {
  const [note] = outcome.notes;
  return `${outcome.kind} ${outcome.reason} ${note?.detail ?? ""}`;
}

Deno.test("ServiceAccountPlugin: passes the token and annotations of the pod's account", async () => {
  const { cluster, runner, outcome } = setUp({ required: ["role"], optional: ["team", "none"] });
  cluster.addAccount("web", { role: "r", team: "t", secret: "hunter2" });
  cluster.addPod("web", IMAGE);
  const found = await outcome();
  deepEqual(JSON.parse(runner.requests[0]?.stdin ?? ""), {
    kind: "CredentialProviderRequest",
    apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    image: "reg.io/app:1",
    serviceAccountToken: "aud web u0 p1 0",
    serviceAccountAnnotations: { role: "r", team: "t" },
  });
  ok(found.kind === "found");
  match(found.candidates[0].origin, /plugin p for service account n\/web/);
  equal(found.candidates[0].account, "n/web (u0)");
});

Deno.test("ServiceAccountPlugin: reports that ECR's plugin does not use the token without a role", async () => {
  const role = "eks.amazonaws.com/ecr-role-arn";
  for (const annotations of [{}, { [role]: "arn" }]) {
    const { cluster, outcome } = setUp({ name: "ecr-credential-provider", optional: [role] });
    cluster.addAccount("web", annotations);
    cluster.addPod("web", IMAGE);
    const { kind, notes } = await outcome();
    equal(kind, "found");
    const isReported = notes[0]?.detail?.includes(`no annotation ${role}`) ?? false;
    equal(isReported, !(role in annotations));
  }
});

Deno.test("ServiceAccountPlugin: shares a response among an account's pods only", async () => {
  const { cluster, runner, outcome } = setUp();
  for (const name of ["a", "b"]) {
    cluster.addAccount(name);
    cluster.addPod(name, `reg.io/${name}:1`);
    cluster.addPod(name, `reg.io/${name}:2`);
  }
  const found = await Promise.all(
    ["a:1", "a:2", "b:1", "b:2"].map((name) => outcome(`reg.io/${name}`)),
  );
  equal(runner.requests.length, 2);
  const accounts = found.map((one) => pairs(one)[0]?.split(" ")[1]);
  deepEqual(accounts, ["a", "a", "b", "b"]);
});

Deno.test("ServiceAccountPlugin: caches per pod and until the token expires with cacheType Token", async () => {
  const { cluster, clock, runner, outcome } = setUp({ cacheType: "Token" });
  cluster.lifetimeMs = 600_000;
  cluster.addAccount("a");
  const first = cluster.addPod("a", IMAGE);
  const second = cluster.addPod("a", "reg.io/b:1");
  match(pairs(await outcome())[0] ?? "", new RegExp(` ${first} `));
  match(pairs(await outcome("reg.io/b:1"))[0] ?? "", new RegExp(` ${second} `));
  await outcome();
  equal(runner.requests.length, 2);
  clock.stepWall(601_000);
  await clock.advance(601_000);
  await outcome();
  equal(runner.requests.length, 3);
});

Deno.test("ServiceAccountPlugin: returns the credential of the first account that has one", async () => {
  const { cluster, outcome, runner } = setUp({ required: ["role"] });
  cluster.addAccount("c", { role: "c" });
  cluster.addAccount("b", { role: "b" });
  cluster.addAccount("a");
  for (const name of ["c", "b", "a"]) cluster.addPod(name, IMAGE);
  match(pairs(await outcome())[0] ?? "", /aud b /);
  equal(runner.requests.length, 1);
});

Deno.test("ServiceAccountPlugin: returns the credentials of all accounts when the first is refused", async () => {
  const { provider, cluster } = setUp();
  for (const name of ["a", "b", "c"]) {
    cluster.addAccount(name);
    cluster.addPod(name, IMAGE);
  }
  const first = await provider.provide(requestFor(IMAGE));
  equal(pairs(first).length, 1);
  for (const more of [{ refused: { fingerprint: "other" } }, { allAccounts: true }]) {
    const all = await provider.provide(requestFor(IMAGE, more));
    ok(all.kind === "found");
    const whose = all.candidates.map(({ account = "" }) => account.split(" ")[0]);
    deepEqual(whose, ["n/a", "n/b", "n/c"]);
  }
});

Deno.test("ServiceAccountPlugin: returns the reason when there is no credential", async () => {
  const none = setUp();
  equal(reasonAndDetail(await none.outcome()), "none no-service-account ");
  none.cluster.podsOf = () => Promise.resolve({ kind: "pods", pods: [], detail: "no pods of n" });
  equal(reasonAndDetail(await none.outcome()), "none no-service-account no pods of n");
  const lacking = setUp({ required: ["role"] });
  lacking.cluster.addAccount("a");
  lacking.cluster.addPod("a", IMAGE);
  equal(
    reasonAndDetail(await lacking.outcome()),
    "none annotation-missing service account n/a has no annotation role",
  );
  const down = setUp();
  down.cluster.down = true;
  match(reasonAndDetail(await down.outcome()), /^failed source-unreachable plugin p: away/);
  equal(down.runner.requests.length, 0);
});

Deno.test("ServiceAccountPlugin: executes a plugin without an account when none is required", async () => {
  const { outcome, cluster, runner } = setUp({ require: false });
  match(pairs(await outcome())[0] ?? "", /^u:none \{\}/);
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  match(pairs(await outcome())[0] ?? "", /aud a /);
  equal(runner.requests.length, 2);
});

Deno.test("ServiceAccountPlugin: executes a plugin for a static pod only when no account is required", async () => {
  const wanting = setUp();
  wanting.cluster.addPod("", IMAGE);
  equal(reasonAndDetail(await wanting.outcome()), "none no-service-account ");
  equal(wanting.runner.requests.length, 0);
  const { outcome, cluster } = setUp({ require: false, required: [] });
  cluster.addPod("", IMAGE);
  cluster.addAccount("a");
  const ofAccount = cluster.addPod("a", IMAGE);
  match(pairs(await outcome())[0] ?? "", /aud a /);
  cluster.pods.delete(ofAccount);
  match(pairs(await outcome())[0] ?? "", /^u:none \{\}/);
});

Deno.test("ServiceAccountPlugin: does not execute a plugin without an account when a pod's account is gone", async () => {
  const { outcome, cluster, runner } = setUp({ require: false });
  cluster.addPod("a", IMAGE);
  equal(reasonAndDetail(await outcome()), "none no-service-account ");
  equal(runner.requests.length, 0);
});

Deno.test("ServiceAccountPlugin: accepts the token as a password only with cacheType Token", async () => {
  for (const cacheType of ["ServiceAccount", "Token"] as const) {
    const { outcome, cluster, runner } = setUp({ cacheType });
    runner.answer = ({ stdin }) =>
      response({ "*.io": ["u", JSON.parse(stdin).serviceAccountToken] }, { type: "Registry" });
    cluster.addAccount("a");
    cluster.addPod("a", IMAGE);
    const found = await outcome();
    equal(found.kind, cacheType === "Token" ? "found" : "failed");
    if (found.kind === "found") continue;
    match(reasonAndDetail(found), /plugin-invalid-response .*requires cacheType Token/);
    doesNotMatch(JSON.stringify(found), /aud a/);
  }
});

Deno.test("ServiceAccountPlugin: requests a token only for the account that it has read", async () => {
  const { outcome, cluster, runner } = setUp();
  cluster.addAccount("a", { version: "old" });
  cluster.addPod("a", IMAGE);
  const before = { ...cluster.accounts.get("a") ?? { uid: "", annotations: {} } };
  cluster.addAccount("a", { version: "new" });
  const real = cluster.account.bind(cluster);
  cluster.account = () => Promise.resolve({ kind: "account", ...before } as const);
  match(reasonAndDetail(await outcome()), /token-unavailable .*is gone/);
  equal(runner.requests.length, 0);
  cluster.account = real;
});

Deno.test("ServiceAccountPlugin: returns no credential of an account deleted during the execution", async () => {
  const { cluster, outcome } = setUp();
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  cluster.meanwhile = () => cluster.accounts.delete("a");
  const after = await outcome();
  equal(reasonAndDetail(after), "none no-service-account ");
});

Deno.test("ServiceAccountPlugin: returns the valid accounts, or unknown when the API server is unreachable", async () => {
  const { cluster, outcome, runner } = setUp();
  runner.answer = () => response(null);
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  const one = await outcome();
  deepEqual(one.kind !== "found" && one.validAccounts, ["p n/a (u0)"]);
  cluster.accounts.delete("a");
  const none = await outcome();
  deepEqual(none.kind !== "found" && none.validAccounts, []);
  cluster.down = true;
  const unknown = await outcome();
  equal(unknown.kind !== "found" && unknown.validAccounts, "unknown");
});

Deno.test("ServiceAccountPlugin: does not affect other plugins when it throws, and is tried again", async () => {
  const { cluster, outcome, runner, provider, settings, files } = setUp();
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  const config = JSON.parse(await files.readText(CONFIG_PATH) ?? "");
  const { tokenAttributes: _, ...plain } = config.providers[0];
  config.providers.push({ ...plain, name: "plain" });
  files.set(CONFIG_PATH, JSON.stringify(config));
  await provider.reload();
  const { podsOf } = cluster;
  cluster.podsOf = () => {
    throw new TypeError("hunter2");
  };
  const first = await outcome();
  deepEqual(pairs(first), ["u:none {}"]);
  deepEqual(first.notes.map(({ reason }) => reason), ["internal-error", "found"]);
  doesNotMatch(JSON.stringify(first.notes), /hunter2/);
  runner.answer = () => response(null);
  const accounts = () => {
    throw new Error("x");
  };
  const only = new KubeletProvider({ ...settings, accounts });
  const failed = await only.provide(requestFor("other.io/app:1"));
  equal(failed.kind !== "found" && failed.validAccounts, "unknown", "the credential in use stays");
  cluster.podsOf = podsOf;
  deepEqual((await outcome()).notes.map(({ reason }) => reason), [
    "plugin-no-credential",
    "found-in-cache",
  ]);
});

Deno.test("ServiceAccountPlugin: keeps each account's cache across a reload, and uses the new API server client", async () => {
  const { cluster, clock, provider: before, outcome, runner, settings } = setUp();
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  await outcome();
  const others = new Cluster(clock);
  others.addAccount("a");
  others.addPod("a", IMAGE);
  const accounts = () => others;
  const after = new KubeletProvider({ ...settings, accounts, before });
  equal((await after.provide(requestFor(IMAGE))).reason, "found-in-cache");
  equal(runner.requests.length, 1);
  const newerThanMs = clock.wallMs();
  await clock.advance(1_000);
  await after.provide(requestFor(IMAGE, { newerThanMs }));
  deepEqual([cluster.tokens.length, others.tokens.length], [1, 1]);
});

type Step =
  | { readonly kind: "account" | "delete" | "annotate"; readonly account: string }
  | { readonly kind: "race"; readonly account: string; readonly deletes: boolean }
  | { readonly kind: "pod"; readonly account: string; readonly image: string }
  | { readonly kind: "end"; readonly nth: number }
  | { readonly kind: "request"; readonly image: string }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "outage"; readonly down: boolean };

const account = fc.constantFrom("a", "b");
const image = fc.constantFrom("reg.io/x:1", "reg.io/y:1");
const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: fc.record({ kind: fc.constantFrom("account", "annotate"), account }), weight: 2 },
  fc.record({ kind: fc.constant("delete"), account }),
  fc.record({ kind: fc.constant("race"), account, deletes: fc.boolean() }),
  {
    arbitrary: fc.record({
      kind: fc.constant("pod"),
      account: fc.constantFrom("a", "b", "a", "b", ""),
      image,
    }),
    weight: 2,
  },
  fc.record({ kind: fc.constant("end"), nth: fc.nat(4) }),
  { arbitrary: fc.record({ kind: fc.constant("request"), image }), weight: 8 },
  fc.record({ kind: fc.constant("wait"), ms: fc.constantFrom(1_000, 11_000, 4_000_000) }),
  fc.record({ kind: fc.constant("outage"), down: fc.constantFrom(false, false, true) }),
) as fc.Arbitrary<Step>;

Deno.test("ServiceAccountPlugin: never returns one account's credential for another account", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 20, maxLength: 60 }),
      fc.constantFrom("ServiceAccount", "Token"),
      fc.constantFrom("Image", "Registry", "Global"),
      fc.boolean(),
      async (steps, cacheType, cacheKeyType, require) => {
        const { cluster, clock, outcome } = setUp({
          require,
          cacheType,
          cacheKeyType,
          optional: ["version"],
        });
        for (const name of ["a", "b"]) cluster.addAccount(name, { version: "0" });
        let changes = 0;
        const annotate = (name: string) => {
          const known = cluster.accounts.get(name);
          if (known) known.annotations = { version: `${++changes}` };
        };
        for (const one of steps) {
          switch (one.kind) {
            case "account":
              cluster.addAccount(one.account, { version: "0" });
              break;
            case "annotate":
              annotate(one.account);
              break;
            case "race":
              cluster.meanwhile = () => {
                cluster.meanwhile = () => {};
                if (one.deletes) cluster.accounts.delete(one.account);
                else annotate(one.account);
              };
              break;
            case "delete":
              cluster.accounts.delete(one.account);
              break;
            case "pod":
              cluster.addPod(one.account, one.image);
              break;
            case "end": {
              const uid = [...cluster.pods.keys()][one.nth];
              if (uid !== undefined) cluster.pods.delete(uid);
              break;
            }
            case "wait":
              await clock.advance(one.ms);
              break;
            case "outage":
              cluster.down = one.down;
              break;
            case "request":
              check(await outcome(one.image), one.image, cluster, {
                perPod: cacheType === "Token",
                require,
              });
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});

/** Checks that each credential belongs to an existing, unchanged account with a pod of the image. */
function check(
  outcome: ProviderOutcome,
  requested: string,
  cluster: Cluster,
  { perPod, require }: { readonly perPod: boolean; readonly require: boolean },
): void {
  const validAccounts = outcome.kind === "found"
    ? outcome.candidates.flatMap((one) => accountName(one) ?? [])
    : outcome.validAccounts === "unknown"
    ? []
    : outcome.validAccounts ?? [];
  const users = [...cluster.pods.values()].filter((one) => one.image === requested);
  for (const name of validAccounts) {
    const [, owner = "", uid = ""] = /^p n\/(\w+) \((\w+)/.exec(name ?? "") ?? [];
    equal(cluster.accounts.get(owner)?.uid, uid, `${name} is gone`);
    ok(users.some(({ pod }) => pod.serviceAccount === owner), `${name} does not use ${requested}`);
  }
  for (const pair of pairs(outcome)) {
    if (pair === "u:none {}") {
      const hasNoAccount = users.length === 0 || users.some(({ pod }) => pod.serviceAccount === "");
      ok(!require && hasNoAccount, "without a token only where there is no account");
      continue;
    }
    const [, audience, owner = "", uid, pod, , annotations] =
      /^u:(\w+) (\w+) (\w+) (\w+) (\d+) (.*)$/.exec(pair) ?? [];
    const known = cluster.accounts.get(owner);
    deepEqual([audience, known?.uid], ["aud", uid], pair);
    deepEqual(JSON.parse(annotations ?? ""), known?.annotations);
    if (perPod) ok(users.some((one) => one.pod.uid === pod), `${pair} is another pod's`);
  }
}
