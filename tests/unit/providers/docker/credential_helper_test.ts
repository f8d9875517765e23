import { deepEqual, doesNotMatch, equal, ok } from "node:assert/strict";
import {
  credentialFingerprint,
  type CredentialRequest,
  credentialSecret,
  Secret,
} from "../../../../lib/model/mod.ts";
import { CredentialHelpers } from "../../../../lib/providers/mod.ts";
import { FakeClock, flushTasks } from "../../../fakes/clock.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { FakeObserver } from "../../../fakes/observer.ts";
import { exited, FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { jwt, requestFor } from "../exec_plugin/plugins.ts";

const IMAGE = "quay.io/a/b";

function setUp() {
  const clock = new FakeClock();
  const observer = new FakeObserver();
  const files = new FakeFiles();
  files.set("/usr/bin/docker-credential-pass", "", "file", { mode: 0o755 });
  files.set("/usr/bin/docker-credential-plain", "", "file", { mode: 0o644 });
  let count = 0;
  const runner = new FakeProcessRunner(() => answer("u", String(++count)));
  files.set("/usr/bin/docker-credential-other", "", "file", { mode: 0o755 });
  const settings = {
    processRunner: runner,
    files,
    clock,
    observer,
    random: new FakeRandom(),
    searchPath: "/usr/bin",
    timeoutMs: 10_000,
    refreshIntervalMs: 240_000,
    signal: new AbortController().signal,
  };
  const credentialHelpers = new CredentialHelpers(settings);
  const helpers = flat(credentialHelpers);
  return { settings, credentialHelpers, helpers, clock, observer, files, runner };
}

const SOURCES: Record<string, string> = {
  "found": "executed",
  "shared-execution": "shared",
  "found-in-cache": "cached",
};

/** Returns outcomes in a form that tests compare. */
function flat(helpers: CredentialHelpers) {
  return {
    async get(name: string, server: string, request: CredentialRequest) {
      const { note, candidates: [first], failure } = await helpers.get(name, server, request);
      const { reason, detail } = note;
      const source = SOURCES[reason];
      const common = { reason, detail, source, retryAtMs: failure?.retryAtMs };
      if (first !== undefined) return { kind: "found", ...common, ...first } as const;
      return { kind: failure === undefined ? "none" : "failed", ...common } as const;
    },
  };
}

function answer(Username: string, Secret: string): string {
  return JSON.stringify({ ServerURL: "quay.io", Username, Secret });
}

Deno.test("CredentialHelpers: decodes each kind of output without quoting it", async () => {
  const cases = [
    [exited(answer("u", "hunter2")), "found", "basic"],
    [exited(answer("<token>", "hunter2")), "found", "identity-token"],
    [exited('{"username":"u","SECRET":"hunter2"} trailing'), "found", "basic"],
    [exited(" credentials not found in native keychain\n", 1), "none", "helper-no-credential"],
    [exited(answer("", "")), "none", "anonymous-entry"],
    [exited(answer("u", "")), "none", "incomplete-entry"],
    [exited("hunter2", 1), "failed", "helper-failed"],
    [exited("hunter2"), "failed", "helper-invalid-response"],
    [exited(""), "failed", "helper-invalid-response"],
    [exited('["hunter2"]'), "failed", "helper-invalid-response"],
    [exited('{"Username":1,"Secret":"hunter2"}'), "failed", "helper-invalid-response"],
    [{ kind: "timed-out", stderr: "hunter2" }, "failed", "helper-timeout"],
    [{ kind: "too-much-output", stderr: "hunter2" }, "failed", "helper-invalid-response"],
    [{ kind: "not-started", reason: "not-executable" }, "failed", "helper-failed"],
  ] as const;
  for (const [result, kind, what] of cases) {
    const { helpers, runner, observer } = setUp();
    runner.answer = () => result;
    const found = await helpers.get("pass", "quay.io", requestFor(IMAGE));
    equal(found.kind, kind);
    equal(found.kind === "found" ? found.credential.kind : found.reason, what);
    doesNotMatch(JSON.stringify([found, observer.events]), /hunter2/);
    equal(observer.of("plugin-executed").length, 1);
  }
});

Deno.test("CredentialHelpers: executes once for concurrent callers and caches the result", async () => {
  const { helpers, clock, runner } = setUp();
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => helpers.get("pass", "quay.io", requestFor(IMAGE))),
  );
  equal(runner.requests.length, 1);
  deepEqual([answers[0]?.source, answers[99]?.source], ["executed", "shared"]);
  equal((await helpers.get("pass", "quay.io", requestFor(IMAGE))).source, "cached");
  await helpers.get("pass", "ghcr.io", requestFor("ghcr.io/a/b"));
  equal(runner.requests.length, 2, "another server requires another execution");
  await clock.advance(240_000);
  await helpers.get("pass", "quay.io", requestFor(IMAGE));
  equal(runner.requests.length, 3);
});

Deno.test("CredentialHelpers: executes once for concurrent callers that require a newer result", async () => {
  const { helpers, clock, runner } = setUp();
  await helpers.get("pass", "quay.io", requestFor(IMAGE));
  const newerThanMs = clock.wallMs();
  await clock.advance(1_000);
  await Promise.all(
    Array.from(
      { length: 20 },
      () => helpers.get("pass", "quay.io", requestFor(IMAGE, { newerThanMs })),
    ),
  );
  equal(runner.requests.length, 2);
});

Deno.test("CredentialHelpers: executes again when the running execution is not new enough", async () => {
  const { helpers, clock, runner } = setUp();
  runner.hold();
  const early = helpers.get("pass", "quay.io", requestFor(IMAGE));
  await flushTasks();
  await clock.advance(1_000);
  const changed = { newerThanMs: clock.wallMs() };
  await clock.advance(1_000);
  const late = [1, 2, 3].map(() => helpers.get("pass", "quay.io", requestFor(IMAGE, changed)));
  runner.release();
  await early;
  for (const found of await Promise.all(late)) {
    ok(found.kind === "found" && found.fetchedAtMs > changed.newerThanMs);
  }
  equal(runner.requests.length, 2);
});

Deno.test("CredentialHelpers: executes again when the cached token expires before the requested time", async () => {
  const { helpers, clock, runner } = setUp();
  runner.answer = () => answer("u", jwt(clock.wallMs() + 60_000));
  await helpers.get("pass", "quay.io", requestFor(IMAGE));
  await helpers.get(
    "pass",
    "quay.io",
    requestFor(IMAGE, { validUntilMs: clock.wallMs() + 30_000 }),
  );
  equal(runner.requests.length, 1);
  await helpers.get(
    "pass",
    "quay.io",
    requestFor(IMAGE, { validUntilMs: clock.wallMs() + 3_600_000 }),
  );
  equal(runner.requests.length, 2);
  await clock.advance(61_000);
  await helpers.get("pass", "quay.io", requestFor(IMAGE));
  equal(runner.requests.length, 3, "an expired credential is not cached");
});

Deno.test("CredentialHelpers: caches the absence of a credential for ten seconds", async () => {
  const { helpers, clock, runner } = setUp();
  runner.answer = () => exited("credentials not found in native keychain", 1);
  await helpers.get("pass", "quay.io", requestFor(IMAGE));
  await clock.advance(9_999);
  await helpers.get("pass", "quay.io", requestFor(IMAGE));
  equal(runner.requests.length, 1);
  await clock.advance(1);
  await helpers.get("pass", "quay.io", requestFor(IMAGE));
  equal(runner.requests.length, 2);
});

Deno.test("CredentialHelpers: backs off after failures and returns the time of the next execution", async () => {
  const { helpers, clock, runner } = setUp();
  runner.answer = () => exited("", 1);
  for (let i = 0; i < 100; i++) await helpers.get("pass", "quay.io", requestFor(IMAGE));
  equal(runner.requests.length, 1);
  const failure = await helpers.get("pass", "quay.io", requestFor(IMAGE));
  ok((failure.retryAtMs ?? 0) > clock.wallMs());
  await clock.advance(2_000);
  await helpers.get("pass", "quay.io", requestFor(IMAGE));
  equal(runner.requests.length, 2);
});

Deno.test("CredentialHelpers: skips a file that is not executable, and checks again within ten seconds", async () => {
  const { helpers, clock, files, runner } = setUp();
  const missing = await helpers.get("plain", "quay.io", requestFor(IMAGE));
  equal(missing.kind === "failed" && missing.reason, "helper-missing");
  files.set("/usr/bin/docker-credential-plain", "", "file", { mode: 0o755 });
  await clock.advance(10_000);
  equal((await helpers.get("plain", "quay.io", requestFor(IMAGE))).kind, "found");
  equal(runner.requests[0]?.path, "/usr/bin/docker-credential-plain");
});

/** A request whose credential with this password was refused. */
function refusal(password: string) {
  const credential = { kind: "basic", username: "u", password: new Secret(password) } as const;
  return { refused: { fingerprint: credentialFingerprint(credential) }, urgent: true };
}

Deno.test("CredentialHelpers: executes once per backoff step for a refused credential", async () => {
  const { helpers, clock, runner } = setUp();
  const get = async (more: Partial<CredentialRequest> = {}) => {
    const found = await helpers.get("pass", "quay.io", requestFor(IMAGE, more));
    return found.kind === "found" ? credentialSecret(found.credential).reveal() : found.kind;
  };
  equal(await get(), "1");
  equal(await get(refusal("1")), "2", "the cache is bypassed");
  equal(await get(refusal("1")), "2", "a newer credential is cached");
  equal(await get(refusal("2")), "2", "the next execution is not allowed yet");
  equal(runner.requests.length, 2);
  await clock.advance(5_000);
  runner.answer = () => exited("", 1);
  equal(await get(refusal("2")), "failed");
  runner.answer = () => answer("u", "new");
  equal(await get(refusal("2")), "2", "neither the step nor the backoff has passed");
  await clock.advance(10_000);
  equal(await get(refusal("2")), "new");
});

Deno.test("CredentialHelpers: backs off a failing helper for every registry", async () => {
  const { helpers, clock, runner } = setUp();
  runner.answer = ({ stdin }) =>
    stdin === "hangs.io" ? { kind: "timed-out", stderr: "" } : answer("u", stdin);
  equal((await helpers.get("pass", "hangs.io", requestFor("hangs.io/a"))).kind, "failed");
  const backingOff = await helpers.get("pass", "quay.io", requestFor(IMAGE));
  equal(backingOff.kind === "failed" && backingOff.reason, "helper-timeout");
  ok((backingOff.retryAtMs ?? 0) > clock.wallMs());
  equal(runner.requests.length, 1);
  equal(
    (await helpers.get("other", "quay.io", requestFor(IMAGE))).kind,
    "found",
    "another helper is executed",
  );
  await clock.advance(2_000);
  equal((await helpers.get("pass", "quay.io", requestFor(IMAGE))).kind, "found");
  equal((await helpers.get("pass", "hangs.io", requestFor("hangs.io/a"))).kind, "failed");
  equal((await helpers.get("pass", "ghcr.io", requestFor("ghcr.io/a"))).kind, "failed");
  await clock.advance(2_000);
  equal((await helpers.get("pass", "ghcr.io", requestFor("ghcr.io/a"))).kind, "found");
  const before = runner.requests.length;
  await helpers.get("pass", "hangs.io", requestFor("hangs.io/a"));
  equal(runner.requests.length, before, "the backoff of the registry has increased");
});

Deno.test("CredentialHelpers: executes other helpers while one hangs for many registries", async () => {
  const { helpers, runner } = setUp();
  const hanging = new Promise<string>(() => {});
  runner.answer = ({ path }) => path.endsWith("-pass") ? hanging : answer("u", "p");
  for (let i = 0; i < 20; i++) void helpers.get("pass", `r${i}.io`, requestFor(`r${i}.io/a`));
  await flushTasks();
  equal((await helpers.get("other", "quay.io", requestFor(IMAGE))).kind, "found");
  equal(runner.mostRunning, 5, "four of one helper, one of the other");
});

Deno.test("CredentialHelpers: keeps cache, backoff and running executions across a reload", async () => {
  const { credentialHelpers, helpers: before, runner, settings } = setUp();
  equal((await before.get("pass", "quay.io", requestFor(IMAGE))).kind, "found");
  runner.answer = () => exited("", 1);
  equal((await before.get("other", "quay.io", requestFor(IMAGE))).kind, "failed");
  runner.answer = () => answer("u", "p");
  runner.hold();
  const early = before.get("pass", "ghcr.io", requestFor("ghcr.io/a"));
  await flushTasks();
  const after = flat(
    new CredentialHelpers({ ...settings, timeoutMs: 1_000, before: credentialHelpers }),
  );
  equal((await after.get("pass", "quay.io", requestFor(IMAGE))).source, "cached");
  equal((await after.get("other", "quay.io", requestFor(IMAGE))).kind, "failed");
  const late = after.get("pass", "ghcr.io", requestFor("ghcr.io/a"));
  await flushTasks();
  runner.release();
  deepEqual([(await early).kind, (await late).source], ["found", "shared"]);
  equal(runner.requests.length, 3);
});
