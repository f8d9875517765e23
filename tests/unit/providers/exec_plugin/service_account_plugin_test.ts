import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { accountName, type ProviderOutcome } from "../../../../lib/model/mod.ts";
import { KubeletProvider } from "../../../../lib/providers/exec_plugin/mod.ts";
import { FakeClock } from "../../../fakes/clock.ts";
import { Cluster } from "../../../fakes/cluster.ts";
import { FakeObserver } from "../../../fakes/observer.ts";
import { FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { MemoryFiles } from "../memory_files.ts";
import { ask, CONFIG_PATH, pairs, response } from "./plugins.ts";

const IMAGE = "reg.io/app:1";

interface Attributes {
  readonly require?: boolean;
  readonly required?: readonly string[];
  readonly optional?: readonly string[];
  readonly cacheType?: "ServiceAccount" | "Token";
  readonly cacheKeyType?: string;
  readonly duration?: string;
}

/** A provider with one plugin, whose answer's password is the token that it was given. */
function stage(attributes: Attributes = {}) {
  const { require = true, required = [], optional = [], cacheType = "ServiceAccount" } = attributes;
  const { cacheKeyType: type = "Registry", duration = "1h" } = attributes;
  const clock = new FakeClock();
  const cluster = new Cluster(clock);
  const files = new MemoryFiles();
  files.write(
    CONFIG_PATH,
    JSON.stringify({
      apiVersion: "kubelet.config.k8s.io/v1",
      kind: "CredentialProviderConfig",
      providers: [{
        name: "p",
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
    accounts: () => Promise.resolve(cluster),
  };
  const provider = new KubeletProvider(settings);
  const outcome = (image = IMAGE) => provider.provide(ask(image));
  return { provider, cluster, clock, runner, outcome, settings, files };
}

function reasonAndDetail(outcome: ProviderOutcome): string {
  const [note] = outcome.notes;
  return `${outcome.kind} ${outcome.reason} ${note?.detail ?? ""}`;
}

Deno.test("AccountPlugin gives a plugin the token and annotations of the pod's account", async () => {
  const { cluster, runner, outcome } = stage({ required: ["role"], optional: ["team", "none"] });
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
  match(found.candidates[0].origin, /plugin p, in the name of n\/web/);
  equal(found.candidates[0].account, "n/web (u0)");
});

Deno.test("AccountPlugin shares an answer among an account's pods, and with no other account", async () => {
  const { cluster, runner, outcome } = stage();
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

Deno.test("AccountPlugin with cacheType Token shares nothing among pods, nor beyond a token's life", async () => {
  const { cluster, clock, runner, outcome } = stage({ cacheType: "Token" });
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

Deno.test("AccountPlugin takes the first account in order that has something", async () => {
  const { cluster, outcome, runner } = stage({ required: ["role"] });
  cluster.addAccount("c", { role: "c" });
  cluster.addAccount("b", { role: "b" });
  cluster.addAccount("a");
  for (const name of ["c", "b", "a"]) cluster.addPod(name, IMAGE);
  match(pairs(await outcome())[0] ?? "", /aud b /);
  equal(runner.requests.length, 1);
});

Deno.test("AccountPlugin offers what every account has where the first one's is refused", async () => {
  const { provider, cluster } = stage();
  for (const name of ["a", "b", "c"]) {
    cluster.addAccount(name);
    cluster.addPod(name, IMAGE);
  }
  const first = await provider.provide(ask(IMAGE));
  equal(pairs(first).length, 1);
  for (const more of [{ refused: { fingerprint: "other" } }, { everyAccount: true }]) {
    const all = await provider.provide(ask(IMAGE, more));
    ok(all.kind === "found");
    const whose = all.candidates.map(({ account = "" }) => account.split(" ")[0]);
    deepEqual(whose, ["n/a", "n/b", "n/c"]);
  }
});

Deno.test("AccountPlugin says why there is no credential", async () => {
  const none = stage();
  equal(reasonAndDetail(await none.outcome()), "none no-service-account ");
  const lacking = stage({ required: ["role"] });
  lacking.cluster.addAccount("a");
  lacking.cluster.addPod("a", IMAGE);
  equal(
    reasonAndDetail(await lacking.outcome()),
    "none annotation-missing account n/a has no annotation role",
  );
  const down = stage();
  down.cluster.down = true;
  match(reasonAndDetail(await down.outcome()), /^failed source-unreachable plugin p: away/);
  equal(down.runner.requests.length, 0);
});

Deno.test("AccountPlugin runs a plugin that can do without where there is no account", async () => {
  const { outcome, cluster, runner } = stage({ require: false });
  match(pairs(await outcome())[0] ?? "", /^u:none \{\}/);
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  match(pairs(await outcome())[0] ?? "", /aud a /);
  equal(runner.requests.length, 2);
});

Deno.test("AccountPlugin runs no plugin for a static pod that wants an account, or after others", async () => {
  const wanting = stage();
  wanting.cluster.addPod("", IMAGE);
  equal(reasonAndDetail(await wanting.outcome()), "none no-service-account ");
  equal(wanting.runner.requests.length, 0);
  const { outcome, cluster } = stage({ require: false, required: [] });
  cluster.addPod("", IMAGE);
  cluster.addAccount("a");
  const ofAccount = cluster.addPod("a", IMAGE);
  match(pairs(await outcome())[0] ?? "", /aud a /);
  cluster.pods.delete(ofAccount);
  match(pairs(await outcome())[0] ?? "", /^u:none \{\}/);
});

Deno.test("AccountPlugin does not do without an account that a pod names and that is gone", async () => {
  const { outcome, cluster, runner } = stage({ require: false });
  cluster.addPod("a", IMAGE);
  equal(reasonAndDetail(await outcome()), "none no-service-account ");
  equal(runner.requests.length, 0);
});

Deno.test("AccountPlugin takes a token back as a password only where nobody shares it", async () => {
  for (const cacheType of ["ServiceAccount", "Token"] as const) {
    const { outcome, cluster, runner } = stage({ cacheType });
    runner.answer = ({ stdin }) =>
      response({ "*.io": ["u", JSON.parse(stdin).serviceAccountToken] }, { type: "Registry" });
    cluster.addAccount("a");
    cluster.addPod("a", IMAGE);
    const found = await outcome();
    equal(found.kind, cacheType === "Token" ? "found" : "failed");
    if (found.kind === "found") continue;
    match(reasonAndDetail(found), /plugin-invalid-response .*that takes cacheType Token/);
    doesNotMatch(JSON.stringify(found), /aud a/);
  }
});

Deno.test("AccountPlugin asks for a token of the very account that it read", async () => {
  const { outcome, cluster, runner } = stage();
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

Deno.test("AccountPlugin gives out nothing of an account that went while the plugin ran", async () => {
  const { cluster, outcome } = stage();
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  cluster.meanwhile = () => cluster.accounts.delete("a");
  const after = await outcome();
  equal(reasonAndDetail(after), "none no-service-account ");
});

Deno.test("AccountPlugin names who still stands, unless that is unknown", async () => {
  const { cluster, outcome, runner } = stage();
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

Deno.test("AccountPlugin: one that throws hides no other plugin, and is tried again", async () => {
  const { cluster, outcome, runner, provider, settings, files } = stage();
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  const config = JSON.parse(await files.readText(CONFIG_PATH) ?? "");
  const { tokenAttributes: _, ...plain } = config.providers[0];
  config.providers.push({ ...plain, name: "plain" });
  files.write(CONFIG_PATH, JSON.stringify(config));
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
  const only = new KubeletProvider({ ...settings, accounts: () => Promise.reject(new Error("x")) });
  const failed = await only.provide(ask("other.io/app:1"));
  equal(failed.kind !== "found" && failed.validAccounts, "unknown", "what is in use stays");
  cluster.podsOf = podsOf;
  deepEqual((await outcome()).notes.map(({ reason }) => reason), [
    "plugin-no-credential",
    "found-in-cache",
  ]);
});

Deno.test("AccountPlugin: a way to the API server that could not be opened is tried again", async () => {
  const { cluster, settings } = stage();
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  let opened = 0;
  const accounts = () => ++opened === 1 ? Promise.reject(new Error("x")) : Promise.resolve(cluster);
  const provider = new KubeletProvider({ ...settings, accounts });
  equal((await provider.provide(ask(IMAGE))).reason, "internal-error");
  equal((await provider.provide(ask(IMAGE))).kind, "found");
});

Deno.test("AccountPlugin: a reload keeps each account's answers, and uses the new way to the API server", async () => {
  const { cluster, clock, provider: before, outcome, runner, settings } = stage();
  cluster.addAccount("a");
  cluster.addPod("a", IMAGE);
  await outcome();
  const others = new Cluster(clock);
  others.addAccount("a");
  others.addPod("a", IMAGE);
  const accounts = () => Promise.resolve(others);
  const after = new KubeletProvider({ ...settings, accounts, before });
  equal((await after.provide(ask(IMAGE))).reason, "found-in-cache");
  equal(runner.requests.length, 1);
  const newerThanMs = clock.wallMs();
  await clock.advance(1_000);
  await after.provide(ask(IMAGE, { newerThanMs }));
  deepEqual([cluster.tokens.length, others.tokens.length], [1, 1]);
});

type Step =
  | { readonly kind: "account" | "delete" | "annotate"; readonly account: string }
  | { readonly kind: "race"; readonly account: string; readonly deletes: boolean }
  | { readonly kind: "pod"; readonly account: string; readonly image: string }
  | { readonly kind: "end"; readonly nth: number }
  | { readonly kind: "ask"; readonly image: string }
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
  { arbitrary: fc.record({ kind: fc.constant("ask"), image }), weight: 8 },
  fc.record({ kind: fc.constant("wait"), ms: fc.constantFrom(1_000, 11_000, 4_000_000) }),
  fc.record({ kind: fc.constant("outage"), down: fc.constantFrom(false, false, true) }),
) as fc.Arbitrary<Step>;

Deno.test("AccountPlugin: whatever happens, nobody is given what another account got", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 20, maxLength: 60 }),
      fc.constantFrom("ServiceAccount", "Token"),
      fc.constantFrom("Image", "Registry", "Global"),
      fc.boolean(),
      async (steps, cacheType, cacheKeyType, require) => {
        const { cluster, clock, outcome } = stage({
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
            case "ask":
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

/** What is given belongs to an account that is there, as it is, and has a pod with the image. */
function check(
  outcome: ProviderOutcome,
  asked: string,
  cluster: Cluster,
  { perPod, require }: { readonly perPod: boolean; readonly require: boolean },
): void {
  const validAccounts = outcome.kind === "found"
    ? outcome.candidates.flatMap((one) => accountName(one) ?? [])
    : outcome.validAccounts === "unknown"
    ? []
    : outcome.validAccounts ?? [];
  const users = [...cluster.pods.values()].filter((one) => one.image === asked);
  for (const name of validAccounts) {
    const [, owner = "", uid = ""] = /^p n\/(\w+) \((\w+)/.exec(name ?? "") ?? [];
    equal(cluster.accounts.get(owner)?.uid, uid, `${name} is gone`);
    ok(users.some(({ pod }) => pod.serviceAccount === owner), `${name} does not use ${asked}`);
  }
  for (const pair of pairs(outcome)) {
    if (pair === "u:none {}") {
      const isUnnamed = users.length === 0 || users.some(({ pod }) => pod.serviceAccount === "");
      ok(!require && isUnnamed, "without a token only where there is no account");
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
