/** Provokes every reason code by its cause. The type of the table requires new codes in it. */
import { deepEqual, equal, notEqual } from "node:assert/strict";
import {
  type CredentialProvider,
  type CredentialRequest,
  type KubeHttpFailure,
  type KubeHttpResponse,
  type ProcessResult,
  type ProviderOutcome,
  REASON_CODES,
  type ReasonCode,
  Secret,
} from "../../../lib/model/mod.ts";
import { AnswerDeadline, type PodAccounts } from "../../../lib/model/mod.ts";
import {
  CredentialChain,
  criProvider,
  disabledProvider,
  labelsProvider,
} from "../../../lib/providers/mod.ts";
import { CredentialHelpers, DockerProvider } from "../../../lib/providers/mod.ts";
import { KubeletProvider } from "../../../lib/providers/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { answered } from "../../fakes/kube_http.ts";
import { kubeStage } from "../../fakes/kube_stage.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { exited, FakeProcessRunner } from "../../fakes/process.ts";
import { FakeRandom } from "../../fakes/random.ts";
import { CONFIG_PATH, configText, kubelet, requestFor, response } from "./exec_plugin/plugins.ts";
import { secretObject } from "./kubernetes/secrets.ts";

const IMAGE = "reg.io/app:1";
const DOCKER = "/root/.docker/config.json";

/** Returns the reasons of the outcome and its notes. */
async function reasonsOf(
  provider: CredentialProvider,
  request: CredentialRequest = requestFor(IMAGE),
): Promise<readonly ReasonCode[]> {
  const chain = new CredentialChain({
    providers: [provider],
    clock: new FakeClock(),
    observer: new FakeObserver(),
  });
  const { attempts } = await chain.resolve(request, { all: true });
  return attempts.flatMap(({ outcome }) => [
    outcome.reason,
    ...outcome.notes.map(({ reason }) => reason),
  ]);
}

function docker(text: string | undefined, answer: ProcessResult = exited("", 1)) {
  const files = new FakeFiles();
  if (text !== undefined) files.set(DOCKER, text);
  for (const name of ["pass", "nydus-auth"]) {
    files.set(`/bin/docker-credential-${name}`, "", "file", { mode: 0o755 });
  }
  const clock = new FakeClock();
  const helpers = new CredentialHelpers({
    processRunner: new FakeProcessRunner(() => answer),
    files,
    clock,
    observer: new FakeObserver(),
    random: new FakeRandom(),
    searchPath: "/bin",
    timeoutMs: 10_000,
    refreshIntervalMs: 240_000,
    signal: new AbortController().signal,
  });
  return { provider: new DockerProvider({ configPath: DOCKER, files, clock, helpers }), files };
}

const auths = (entry: unknown, registry = "reg.io") =>
  JSON.stringify({ auths: { [registry]: entry } });
const fromDocker = (text: string | undefined) => reasonsOf(docker(text).provider);
const fromHelper = (answer: ProcessResult, name = "pass") =>
  reasonsOf(docker(JSON.stringify({ credHelpers: { "reg.io": name } }), answer).provider);

/** Returns the reasons for a plugin with this result. */
async function fromPlugin(result: ProcessResult | string): Promise<readonly ReasonCode[]> {
  const { provider, runner } = kubelet([{ name: "p", matchImages: ["reg.io"] }]);
  runner.answer = () => result;
  return await reasonsOf(provider);
}

async function fromKube(
  answer: KubeHttpResponse | KubeHttpFailure,
): Promise<readonly ReasonCode[]> {
  using stage = kubeStage(() => answer);
  return await reasonsOf(stage.kube.secrets());
}

type Pods = Awaited<ReturnType<PodAccounts["podsOf"]>>;
type Account = Awaited<ReturnType<PodAccounts["account"]>>;
type Token = Awaited<ReturnType<PodAccounts["token"]>>;

const POD = { namespace: "n", name: "pod", uid: "1", serviceAccount: "web" };
const NO_TOKEN = { kind: "failed", reason: "token-unavailable", detail: "no" } as const;

/** Returns the reasons for a plugin with `tokenAttributes` in this cluster. */
function fromAccount(
  { pods = [POD], annotations = {}, token = NO_TOKEN }: {
    readonly pods?: readonly typeof POD[];
    readonly annotations?: Record<string, string>;
    readonly token?: Token;
  },
): Promise<readonly ReasonCode[]> {
  const files = new FakeFiles();
  const { providers: [plugin], ...head } = JSON.parse(
    configText({ name: "p", matchImages: ["reg.io"] }),
  );
  const tokenAttributes = {
    serviceAccountTokenAudience: "aud",
    requireServiceAccount: true,
    cacheType: "ServiceAccount",
    requiredServiceAccountAnnotationKeys: ["role"],
  };
  files.set(
    CONFIG_PATH,
    JSON.stringify({ ...head, providers: [{ ...plugin, tokenAttributes }] }),
  );
  const accounts: PodAccounts = {
    podsOf: () => Promise.resolve({ kind: "pods", pods } as Pods),
    account: () => Promise.resolve({ kind: "account", uid: "u", annotations } as Account),
    token: () => Promise.resolve(token),
  };
  return reasonsOf(
    new KubeletProvider({
      signal: new AbortController().signal,
      configPath: CONFIG_PATH,
      binDir: "/bin",
      timeoutMs: 60_000,
      maxParallel: 4,
      files,
      processRunner: new FakeProcessRunner(() => response({ "reg.io": ["u", "p"] })),
      clock: new FakeClock(),
      random: new FakeRandom(),
      observer: new FakeObserver(),
      accounts: () => accounts,
    }),
  );
}

const NAME = "containerd.io/snapshot/pullusername";
const GOOD = response({ "reg.io": ["u", "p"] }, { duration: "1h" });
const list = (...items: unknown[]) =>
  answered({ kind: "SecretList", apiVersion: "v1", metadata: { resourceVersion: "1" }, items });

/** All codes but the registry's, which an end-to-end test provokes. */
type Provoked = Exclude<ReasonCode, "registry-refused">;

const PROVOKED: Readonly<Record<Provoked, () => Promise<readonly ReasonCode[]>>> = {
  "found": () => fromPlugin(GOOD),
  async "found-in-cache"() {
    const { provider, runner } = kubelet([{ name: "p", matchImages: ["reg.io"] }]);
    runner.answer = () => GOOD;
    notEqual((await reasonsOf(provider))[0], "found-in-cache");
    return await reasonsOf(provider);
  },
  async "shared-execution"() {
    const { provider, runner } = kubelet([{ name: "p", matchImages: ["reg.io"] }]);
    runner.answer = () => response({ "reg.io": ["u", "p"] }, { duration: "0s" });
    const both = await Promise.all([reasonsOf(provider), reasonsOf(provider)]);
    equal(runner.requests.length, 1);
    return both.flat();
  },
  "no-labels": () => reasonsOf(labelsProvider(new FakeClock())),
  "incomplete-labels": () =>
    reasonsOf(labelsProvider(new FakeClock()), requestFor(IMAGE, { labels: { [NAME]: "u" } })),
  "not-enabled": () => reasonsOf(disabledProvider("kubesecret", true)),
  "no-pull-observed": () => reasonsOf(criProvider({ lookup: () => undefined })),
  "no-config-file": () => fromDocker(undefined),
  "no-entry-for-registry": () => fromDocker(auths({ username: "u", password: "p" }, "other.io")),
  "anonymous-entry": () => fromDocker(auths({})),
  "incomplete-entry": () => fromDocker(auths({ username: "u" })),
  "helper-no-credential": () => fromHelper(exited("credentials not found in native keychain\n", 1)),
  "helper-is-agent": () => fromHelper(exited(""), "nydus-auth"),
  async "plugin-not-matched"() {
    return await reasonsOf(kubelet([{ name: "p", matchImages: ["other.io"] }]).provider);
  },
  "plugin-no-credential": () => fromPlugin(response(null)),
  "no-pattern-matched": () => fromPlugin(response({ "other.io": ["u", "p"] })),
  "no-secret-matched": () => fromKube(list(secretObject({ auths: {} }))),
  "no-service-account": () => fromAccount({ pods: [] }),
  "annotation-missing": () => fromAccount({}),
  "invalid-config": () => fromDocker("{"),
  "unreadable"() {
    const { provider, files } = docker("{}");
    files.refuseReading(DOCKER);
    return reasonsOf(provider);
  },
  "invalid-entry": () => fromDocker(auths({ auth: new Uint8Array([0x75, 0x3a, 255]).toBase64() })),
  "helper-missing": () => fromHelper(exited(""), "elsewhere"),
  "helper-failed": () => fromHelper(exited("no", 1)),
  "helper-timeout": () => fromHelper({ kind: "timed-out", stderr: "" }),
  "helper-invalid-response": () => fromHelper(exited("no JSON")),
  "plugin-missing": () => fromPlugin({ kind: "not-started", reason: "missing" }),
  "plugin-not-executable": () => fromPlugin({ kind: "not-started", reason: "not-executable" }),
  "plugin-failed": () => fromPlugin(exited("", 1)),
  "plugin-timeout": () => fromPlugin({ kind: "timed-out", stderr: "" }),
  "plugin-too-much-output": () => fromPlugin({ kind: "too-much-output", stderr: "" }),
  "plugin-invalid-response": () => fromPlugin("no JSON"),
  async "plugin-backing-off"() {
    const { provider, runner } = kubelet([{ name: "p", matchImages: ["reg.io"] }]);
    runner.answer = () => exited("", 1);
    deepEqual((await reasonsOf(provider))[0], "plugin-failed");
    return await reasonsOf(provider);
  },
  async "deadline-exceeded"() {
    const clock = new FakeClock();
    const chain = new CredentialChain({
      providers: [{ name: "docker", renewable: true, provide: () => new Promise(() => {}) }],
      clock,
      observer: new FakeObserver(),
      deadline: new AnswerDeadline({ clock, timeoutMs: 5_000, onLateAnswer: () => {} }),
    });
    const resolution = chain.resolve(requestFor(IMAGE));
    await clock.waiting();
    await clock.advance(6_000);
    return (await resolution).attempts.map(({ outcome }) => outcome.reason);
  },
  "source-unreachable": () => fromKube({ kind: "unreachable", detail: "no route" }),
  "source-refused": () => fromKube(answered({}, 401)),
  "token-unavailable": () => fromAccount({ annotations: { role: "r" } }),
  "forbidden-by-rbac": () => fromKube(answered({}, 403)),
  "internal-error"() {
    const provide = (): Promise<ProviderOutcome> => Promise.reject(new TypeError("hunter2"));
    return reasonsOf({ name: "docker", renewable: true, provide });
  },
};

for (const [code, provoke] of Object.entries(PROVOKED)) {
  Deno.test(`reason "${code}": is returned for its cause`, async () => {
    const reasons = await provoke();
    deepEqual(reasons.filter((reason) => reason === code).slice(0, 1), [code], reasons.join());
  });
}

Deno.test("criProvider: finds a credential of an observed pull", async () => {
  const credential = { kind: "basic", username: "u", password: new Secret("p") } as const;
  const provider = criProvider({ lookup: () => ({ credential, seenAtMs: 1 }) });
  deepEqual(await reasonsOf(provider), ["found"]);
  equal(Object.keys(PROVOKED).length, Object.keys(REASON_CODES).length - 1);
});
