import { deepEqual, doesNotMatch, equal, ok } from "node:assert/strict";
import {
  credentialFingerprint,
  type CredentialRequest,
  credentialSecret,
  Secret,
} from "../../../../lib/model/mod.ts";
import { CredentialHelpers } from "../../../../lib/providers/docker/mod.ts";
import { FakeClock, settle } from "../../../fakes/clock.ts";
import { FakeObserver } from "../../../fakes/observer.ts";
import { exited, FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { MemoryFiles } from "../memory_files.ts";
import { ask, jwt } from "../exec_plugin/plugins.ts";

const IMAGE = "quay.io/a/b";

function helpers() {
  const clock = new FakeClock();
  const observer = new FakeObserver();
  const files = new MemoryFiles();
  files.write("/usr/bin/docker-credential-pass", "", { mode: 0o755 });
  files.write("/usr/bin/docker-credential-plain", "", { mode: 0o644 });
  let count = 0;
  const runner = new FakeProcessRunner(() => answer("u", String(++count)));
  files.write("/usr/bin/docker-credential-other", "", { mode: 0o755 });
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
  const asked = new CredentialHelpers(settings);
  return { settings, asked, clock, observer, files, runner };
}

function answer(Username: string, Secret: string): string {
  return JSON.stringify({ ServerURL: "quay.io", Username, Secret });
}

Deno.test("CredentialHelpers reads each kind of answer, and quotes none", async () => {
  const cases = [
    [exited(answer("u", "hunter2")), "found", "basic"],
    [exited(answer("<token>", "hunter2")), "found", "identity-token"],
    [exited('{"username":"u","SECRET":"hunter2"} trailing'), "found", "basic"],
    [exited(" credentials not found in native keychain\n", 1), "none", "helper-not-found"],
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
    const { asked, runner, observer } = helpers();
    runner.answer = () => result;
    const found = await asked.get("pass", "quay.io", ask(IMAGE));
    equal(found.kind, kind);
    equal(found.kind === "found" ? found.credential.kind : found.reason, what);
    doesNotMatch(JSON.stringify([found, observer.events]), /hunter2/);
    equal(observer.of("plugin-executed").length, 1);
  }
});

Deno.test("CredentialHelpers runs once for callers side by side, and keeps the answer", async () => {
  const { asked, clock, runner } = helpers();
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => asked.get("pass", "quay.io", ask(IMAGE))),
  );
  equal(runner.requests.length, 1);
  deepEqual([answers[0]?.source, answers[99]?.source], ["executed", "shared"]);
  equal((await asked.get("pass", "quay.io", ask(IMAGE))).source, "kept");
  await asked.get("pass", "ghcr.io", ask("ghcr.io/a/b"));
  equal(runner.requests.length, 2, "another server is another question");
  await clock.advance(240_000);
  await asked.get("pass", "quay.io", ask(IMAGE));
  equal(runner.requests.length, 3);
});

Deno.test("CredentialHelpers asks again for something newer, once for all who want it", async () => {
  const { asked, clock, runner } = helpers();
  await asked.get("pass", "quay.io", ask(IMAGE));
  const newerThanMs = clock.wallMs();
  await clock.advance(1_000);
  await Promise.all(
    Array.from({ length: 20 }, () => asked.get("pass", "quay.io", ask(IMAGE, { newerThanMs }))),
  );
  equal(runner.requests.length, 2);
});

Deno.test("CredentialHelpers: an execution begun before the wished time is not joined for good", async () => {
  const { asked, clock, runner } = helpers();
  runner.hold();
  const early = asked.get("pass", "quay.io", ask(IMAGE));
  await settle();
  await clock.advance(1_000);
  const changed = { newerThanMs: clock.wallMs() };
  await clock.advance(1_000);
  const late = [1, 2, 3].map(() => asked.get("pass", "quay.io", ask(IMAGE, changed)));
  runner.release();
  await early;
  for (const found of await Promise.all(late)) ok(found.fetchedAtMs > changed.newerThanMs);
  equal(runner.requests.length, 2);
});

Deno.test("CredentialHelpers asks again when the token at hand ends before the wished time", async () => {
  const { asked, clock, runner } = helpers();
  runner.answer = () => answer("u", jwt(clock.wallMs() + 60_000));
  await asked.get("pass", "quay.io", ask(IMAGE));
  await asked.get("pass", "quay.io", ask(IMAGE, { validUntilMs: clock.wallMs() + 30_000 }));
  equal(runner.requests.length, 1);
  await asked.get("pass", "quay.io", ask(IMAGE, { validUntilMs: clock.wallMs() + 3_600_000 }));
  equal(runner.requests.length, 2);
  await clock.advance(61_000);
  await asked.get("pass", "quay.io", ask(IMAGE));
  equal(runner.requests.length, 3, "a dead one is not kept");
});

Deno.test("CredentialHelpers keeps that there is nothing for ten seconds", async () => {
  const { asked, clock, runner } = helpers();
  runner.answer = () => exited("credentials not found in native keychain", 1);
  await asked.get("pass", "quay.io", ask(IMAGE));
  await clock.advance(9_999);
  await asked.get("pass", "quay.io", ask(IMAGE));
  equal(runner.requests.length, 1);
  await clock.advance(1);
  await asked.get("pass", "quay.io", ask(IMAGE));
  equal(runner.requests.length, 2);
});

Deno.test("CredentialHelpers backs off after failures and says until when", async () => {
  const { asked, clock, runner } = helpers();
  runner.answer = () => exited("", 1);
  for (let i = 0; i < 100; i++) await asked.get("pass", "quay.io", ask(IMAGE));
  equal(runner.requests.length, 1);
  const currentAuth = await asked.get("pass", "quay.io", ask(IMAGE));
  ok((currentAuth.retryAtMs ?? 0) > clock.wallMs());
  await clock.advance(2_000);
  await asked.get("pass", "quay.io", ask(IMAGE));
  equal(runner.requests.length, 2);
});

Deno.test("CredentialHelpers does not run what cannot be executed, and finds it soon after it can", async () => {
  const { asked, clock, files, runner } = helpers();
  const missing = await asked.get("plain", "quay.io", ask(IMAGE));
  equal(missing.kind === "failed" && missing.reason, "helper-missing");
  files.write("/usr/bin/docker-credential-plain", "", { mode: 0o755 });
  await clock.advance(10_000);
  equal((await asked.get("plain", "quay.io", ask(IMAGE))).kind, "found");
  equal(runner.requests[0]?.path, "/usr/bin/docker-credential-plain");
});

/** The credential with this password, as the one that was refused. */
function refusal(password: string) {
  const credential = { kind: "basic", username: "u", password: new Secret(password) } as const;
  return { refused: { fingerprint: credentialFingerprint(credential) }, urgent: true };
}

Deno.test("CredentialHelpers: a refused credential is no answer, and costs one execution a step", async () => {
  const { asked, clock, runner } = helpers();
  const get = async (more: Partial<CredentialRequest> = {}) => {
    const found = await asked.get("pass", "quay.io", ask(IMAGE, more));
    return found.kind === "found" ? credentialSecret(found.credential).reveal() : found.kind;
  };
  equal(await get(), "1");
  equal(await get(refusal("1")), "2", "past what is kept");
  equal(await get(refusal("1")), "2", "there is a newer one");
  equal(await get(refusal("2")), "2", "asked too lately");
  equal(runner.requests.length, 2);
  await clock.advance(5_000);
  runner.answer = () => exited("", 1);
  equal(await get(refusal("2")), "failed");
  runner.answer = () => answer("u", "new");
  equal(await get(refusal("2")), "failed", "both the step and the backoff say so");
  await clock.advance(10_000);
  equal(await get(refusal("2")), "new");
});

Deno.test("CredentialHelpers: a helper that fails rests for every registry, and for no longer than it must", async () => {
  const { asked, clock, runner } = helpers();
  runner.answer = ({ stdin }) =>
    stdin === "hangs.io" ? { kind: "timed-out", stderr: "" } : answer("u", stdin);
  equal((await asked.get("pass", "hangs.io", ask("hangs.io/a"))).kind, "failed");
  const resting = await asked.get("pass", "quay.io", ask(IMAGE));
  equal(resting.kind === "failed" && resting.reason, "helper-timeout");
  ok((resting.retryAtMs ?? 0) > clock.wallMs());
  equal(runner.requests.length, 1);
  equal((await asked.get("other", "quay.io", ask(IMAGE))).kind, "found", "another helper is run");
  await clock.advance(2_000);
  equal((await asked.get("pass", "quay.io", ask(IMAGE))).kind, "found");
  equal((await asked.get("pass", "hangs.io", ask("hangs.io/a"))).kind, "failed");
  equal((await asked.get("pass", "ghcr.io", ask("ghcr.io/a"))).kind, "failed");
  await clock.advance(2_000);
  equal((await asked.get("pass", "ghcr.io", ask("ghcr.io/a"))).kind, "found");
  const before = runner.requests.length;
  await asked.get("pass", "hangs.io", ask("hangs.io/a"));
  equal(runner.requests.length, before, "the registry's own pause has grown");
});

Deno.test("CredentialHelpers: a helper that hangs for many registries takes no other's place", async () => {
  const { asked, runner } = helpers();
  const hanging = new Promise<string>(() => {});
  runner.answer = ({ path }) => path.endsWith("-pass") ? hanging : answer("u", "p");
  for (let i = 0; i < 20; i++) void asked.get("pass", `r${i}.io`, ask(`r${i}.io/a`));
  await settle();
  equal((await asked.get("other", "quay.io", ask(IMAGE))).kind, "found");
  equal(runner.mostRunning, 5, "four of the one, one of the other");
});

Deno.test("CredentialHelpers: a reload keeps answers, pauses and executions under way", async () => {
  const { asked: before, runner, settings } = helpers();
  equal((await before.get("pass", "quay.io", ask(IMAGE))).kind, "found");
  runner.answer = () => exited("", 1);
  equal((await before.get("other", "quay.io", ask(IMAGE))).kind, "failed");
  runner.answer = () => answer("u", "p");
  runner.hold();
  const early = before.get("pass", "ghcr.io", ask("ghcr.io/a"));
  await settle();
  const after = new CredentialHelpers({ ...settings, timeoutMs: 1_000, before });
  equal((await after.get("pass", "quay.io", ask(IMAGE))).source, "kept");
  equal((await after.get("other", "quay.io", ask(IMAGE))).kind, "failed");
  const late = after.get("pass", "ghcr.io", ask("ghcr.io/a"));
  await settle();
  runner.release();
  deepEqual([(await early).kind, (await late).source], ["found", "shared"]);
  equal(runner.requests.length, 3);
});
