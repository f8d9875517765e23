import { deepEqual, equal, match, ok } from "node:assert/strict";
import {
  credentialFingerprint,
  type CredentialRequest,
  Secret,
} from "../../../../lib/model/mod.ts";
import { flushTasks } from "../../../fakes/clock.ts";
import { exited } from "../../../fakes/process.ts";
import { jwt, kubelet, pairs, requestFor, response } from "./plugins.ts";

const A = { name: "a", matchImages: ["*.example.com"] };
const IMAGES = Array.from({ length: 1_000 }, (_, i) => `reg.example.com/app${i}`);

/** Creates a provider whose plugin counts executions: `u:1`, `u:2`, … */
function counting(duration: string | undefined, type = "Registry") {
  const fakes = kubelet([A]);
  let count = 0;
  fakes.runner.answer = () =>
    response({ "*.example.com": ["u", String(++count)] }, {
      type,
      ...(duration !== undefined && { duration }),
    });
  return fakes;
}

for (const type of ["Registry", "Global"]) {
  Deno.test(`Plugin: is executed once for 1,000 concurrent requests of one cache key (${type})`, async () => {
    const { provider, runner } = counting("1h", type);
    const outcomes = await Promise.all(IMAGES.map((ref) => provider.provide(requestFor(ref))));
    ok(outcomes.every((outcome) => pairs(outcome)[0] === "u:1"));
    equal(runner.requests.length, 1);
    const reasons = Map.groupBy(outcomes, ({ reason }) => reason);
    equal(reasons.get("found")?.length, 1);
    equal(reasons.get("shared-execution")?.length, 999);
    equal((await provider.provide(requestFor("reg.example.com/x"))).reason, "found-in-cache");
  });
}

Deno.test("Plugin: is executed once per image when responses are cached per image", async () => {
  const { provider, runner } = counting("1h", "Image");
  const refs = IMAGES.slice(0, 20);
  await Promise.all([...refs, ...refs].map((ref) => provider.provide(requestFor(ref))));
  equal(runner.requests.length, 20);
  ok(runner.mostRunning <= 4);
});

for (const duration of ["0s", "1us", "999ms"]) {
  Deno.test(`Plugin: shares one execution within a reconcile with cacheDuration ${duration} (flaw 14)`, async () => {
    const { provider, runner, clock } = counting(duration);
    for (const ref of IMAGES.slice(0, 100)) await provider.provide(requestFor(ref));
    equal(runner.requests.length, 1);
    const before = clock.wallMs();
    await clock.advance(60_000);
    for (const ref of IMAGES.slice(0, 100)) {
      await provider.provide(requestFor(ref, { newerThanMs: before }));
    }
    equal(runner.requests.length, 2);
  });
}

Deno.test("Plugin: shares a response within a reconcile even if it expires earlier than requested (flaw 14)", async () => {
  const { provider, runner, clock } = counting("5s");
  for (const ref of IMAGES.slice(0, 100)) {
    await provider.provide(requestFor(ref, { validUntilMs: clock.wallMs() + 3_600_000 }));
    await clock.advance(1);
  }
  equal(runner.requests.length, 1);
});

Deno.test("Plugin: is executed again when the cached response expires before the requested time", async () => {
  const { provider, runner, clock } = counting("10m");
  await provider.provide(requestFor("reg.example.com/x"));
  const near = requestFor("reg.example.com/x", { validUntilMs: clock.wallMs() + 60_000 });
  deepEqual(pairs(await provider.provide(near)), ["u:1"]);
  const far = requestFor("reg.example.com/x", { validUntilMs: clock.wallMs() + 3_600_000 });
  deepEqual(
    pairs(await provider.provide(far)),
    ["u:2"],
    "a new response is used regardless of its lifetime",
  );
  equal(runner.requests.length, 2);
});

Deno.test("Plugin: prefers the token's expiry to the cache duration", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () =>
    response({ "*.example.com": ["u", jwt(clock.wallMs() + 7_200_000)] }, { duration: "1m" });
  const outcome = await provider.provide(requestFor("reg.example.com/x"));
  if (outcome.kind !== "found") throw new Error(outcome.reason);
  equal(outcome.candidates[0].expiresAtMs, clock.wallMs() + 7_200_000);
  equal(outcome.candidates[0].refreshAtMs, clock.wallMs() + 60_000);
  await provider.provide(
    requestFor("reg.example.com/x", { validUntilMs: clock.wallMs() + 3_600_000 }),
  );
  equal(runner.requests.length, 1);
});

Deno.test("Plugin: does not serve an expired token, regardless of its cache duration", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () =>
    response({ "*.example.com": ["u", jwt(clock.wallMs() + 60_000)] }, { duration: "12h" });
  await provider.provide(requestFor("reg.example.com/x"));
  await clock.advance(61_000);
  await provider.provide(requestFor("reg.example.com/x"));
  equal(runner.requests.length, 2);
});

Deno.test("Plugin: is not executed again when only the token of a less specific entry expires", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => {
    const token = (ms: number): [string, string] => ["u", jwt(clock.wallMs() + ms)];
    const auth = { "*.example.com": token(60_000), "reg.example.com": token(7_200_000) };
    return response(auth, { duration: "12h" });
  };
  await provider.provide(requestFor("reg.example.com/x"));
  await clock.advance(61_000);
  await provider.provide(requestFor("reg.example.com/x"));
  equal(runner.requests.length, 1);
});

Deno.test("Plugin: is executed again when the cache duration has passed, and not earlier", async () => {
  const { provider, runner, clock } = counting("5m");
  await provider.provide(requestFor("reg.example.com/x"));
  await clock.advance(299_000);
  await provider.provide(requestFor("reg.example.com/x"));
  equal(runner.requests.length, 1);
  await clock.advance(1_000);
  await provider.provide(requestFor("reg.example.com/x"));
  equal(runner.requests.length, 2);
});

Deno.test("Plugin: sets no refresh time for a response that must not be cached", async () => {
  const { provider } = counting("0s");
  const outcome = await provider.provide(requestFor("reg.example.com/x"));
  if (outcome.kind !== "found") throw new Error(outcome.reason);
  equal(outcome.candidates[0].refreshAtMs, undefined);
});

Deno.test("Plugin: caches the absence of a credential for ten seconds, regardless of cacheDuration", async () => {
  for (
    const auth of [null, { "*.other.com": ["u", "p"] }, { "*.example.com": ["", ""] }] as const
  ) {
    const { provider, runner, clock } = kubelet([A]);
    runner.answer = () => response(auth, { duration: "12h" });
    await provider.provide(requestFor("reg.example.com/x"));
    await clock.advance(9_000);
    await provider.provide(requestFor("reg.example.com/x"));
    equal(runner.requests.length, 1);
    await clock.advance(1_000);
    await provider.provide(requestFor("reg.example.com/x"));
    equal(runner.requests.length, 2);
  }
});

Deno.test("Plugin: is executed again when the running execution is not new enough", async () => {
  const { provider, runner, clock } = counting("1h");
  await provider.provide(requestFor("reg.example.com/x"));
  await clock.advance(1_000);
  runner.hold();
  const early = provider.provide(
    requestFor("reg.example.com/x", { newerThanMs: clock.wallMs() - 500 }),
  );
  await flushTasks();
  await clock.advance(1_000);
  const changedAtMs = clock.wallMs();
  await clock.advance(1_000);
  const late = IMAGES.slice(0, 50).map((ref) =>
    provider.provide(requestFor(ref, { newerThanMs: changedAtMs }))
  );
  runner.release();
  deepEqual(pairs(await early), ["u:2"]);
  ok((await Promise.all(late)).every((outcome) => pairs(outcome)[0] === "u:3"));
  equal(runner.requests.length, 3);
});

Deno.test("Plugin: is not executed for every request after the wall clock was set back", async () => {
  const { provider, runner, clock } = counting("1h");
  await provider.provide(requestFor("reg.example.com/x"));
  const newerThanMs = clock.wallMs();
  clock.stepWall(-3_600_000);
  for (const ref of IMAGES.slice(0, 20)) await provider.provide(requestFor(ref, { newerThanMs }));
  ok(runner.requests.length <= 2, `${runner.requests.length} executions`);
});

Deno.test("Plugin: is executed once per backoff step while it fails, regardless of the number of images (flaw 5)", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => exited("", 1);
  const reasons = new Set<string>();
  for (const ref of IMAGES) reasons.add((await provider.provide(requestFor(ref))).reason);
  equal(runner.requests.length, 1);
  deepEqual([...reasons], ["plugin-failed", "plugin-backing-off"]);
  await clock.advance(2_000);
  await Promise.all(IMAGES.map((ref) => provider.provide(requestFor(ref))));
  equal(runner.requests.length, 2, "concurrent requests share one step");
  const again = await provider.provide(requestFor("reg.example.com/again"));
  match(
    again.kind === "failed" ? again.detail : again.kind,
    /it failed 2 times in a row and is in/,
  );
});

Deno.test("Plugin: is executed once per backoff step while it fails, also with responses per image (flaw 5)", async () => {
  const { provider, runner, clock } = counting("1m", "Image");
  await provider.provide(requestFor("reg.example.com/x"));
  await clock.advance(61_000);
  runner.answer = () => exited("", 1);
  await Promise.all(IMAGES.map((ref) => provider.provide(requestFor(ref))));
  ok(runner.requests.length <= 1 + 4, "at most the limit of concurrent executions");
  const before = runner.requests.length;
  await clock.advance(600_000);
  await Promise.all(IMAGES.map((ref) => provider.provide(requestFor(ref))));
  equal(runner.requests.length, before + 1);
});

Deno.test("Plugin: backs off for at most five minutes, and at most five seconds for an urgent request", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => exited("", 1);
  let longestMs = 0;
  for (let failure = 0; failure < 30; failure++) {
    const outcome = await provider.provide(requestFor("reg.example.com/x"));
    if (outcome.kind !== "failed") throw new Error(outcome.kind);
    const pauseMs = (outcome.retryAtMs ?? NaN) - clock.wallMs();
    ok(pauseMs >= 1_000 && pauseMs <= 300_000, `${pauseMs} ms`);
    longestMs = Math.max(longestMs, pauseMs);
    if (failure < 29) await clock.advance(Math.ceil(pauseMs));
  }
  ok(longestMs > 60_000);
  equal(runner.requests.length, 30);
  await clock.advance(4_000);
  await provider.provide(requestFor("reg.example.com/x", { urgent: true }));
  await clock.advance(1_001);
  await provider.provide(requestFor("reg.example.com/x"));
  equal(runner.requests.length, 30);
  await provider.provide(requestFor("reg.example.com/x", { urgent: true }));
  equal(runner.requests.length, 31);
});

Deno.test("Plugin: resets its backoff on the first success", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => exited("", 1);
  await provider.provide(requestFor("reg.example.com/x"));
  await clock.advance(2_000);
  runner.answer = () => response({ "*.example.com": ["u", "p"] });
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/x"))), ["u:p"]);
  const later = { newerThanMs: clock.wallMs() };
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/y", later))), ["u:p"]);
});

Deno.test("Plugin: is tried again within ten seconds when it is not installed", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => ({ kind: "not-started", reason: "missing" });
  for (let i = 0; i < 8; i++) {
    await provider.provide(requestFor("reg.example.com/x"));
    await clock.advance(10_000);
  }
  equal(runner.requests.length, 8);
});

Deno.test("Plugin: bypasses cache and backoff once per step when a credential is refused", async () => {
  const { provider, runner, clock } = kubelet([{ name: "p", matchImages: ["reg.io"] }]);
  const refused = (password: string) => {
    const credential = { kind: "basic", username: "u", password: new Secret(password) } as const;
    return { refused: { fingerprint: credentialFingerprint(credential) }, urgent: true };
  };
  const executions = async (more: Partial<CredentialRequest> = {}) => {
    const before = runner.requests.length;
    await provider.provide(requestFor("reg.io/app", more));
    return runner.requests.length - before;
  };
  runner.answer = () => response({ "reg.io": ["u", "old"] });
  await executions();
  runner.answer = () => exited("", 1);
  const newer = () => ({ newerThanMs: clock.wallMs() });
  for (let i = 0; i < 6; i++) {
    await clock.advance(300_000);
    equal(await executions(newer()), 1);
  }
  runner.answer = () => response({ "reg.io": ["u", "new"] });
  await clock.advance(500);
  equal(await executions(newer()), 0, "it is in backoff after its failures");
  equal(await executions(refused("old")), 1, "the refusal bypasses the backoff");
  equal(await executions(refused("new")), 0, "the step has not passed");
  await clock.advance(5_000);
  equal(await executions(refused("new")), 1);
  await clock.advance(5_000);
  equal(await executions(refused("new")), 0);
});

Deno.test("Plugin: returns the newest response when a refusal may not force an execution", async () => {
  const { provider, runner, clock } = kubelet([{ name: "p", matchImages: ["reg.io"] }]);
  const refused = (password: string) => {
    const credential = { kind: "basic", username: "u", password: new Secret(password) } as const;
    return { refused: { fingerprint: credentialFingerprint(credential) } };
  };
  for (const [type, password] of [["Image", "first"], ["Registry", "last"]] as const) {
    runner.answer = () => response({ "reg.io": ["u", password] }, { type, duration: "2s" });
    deepEqual(pairs(await provider.provide(requestFor("reg.io/app"))), [`u:${password}`]);
    await clock.advance(3_000);
  }
  const provide = async () =>
    pairs(await provider.provide(requestFor("reg.io/app", refused("last"))));
  deepEqual(await provide(), ["u:last"], "executed once more");
  const before = runner.requests.length;
  deepEqual(await provide(), ["u:last"]);
  equal(runner.requests.length, before, "the step has not passed");
});
