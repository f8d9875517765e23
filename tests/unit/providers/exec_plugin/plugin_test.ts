import { deepEqual, equal, ok } from "node:assert/strict";
import {
  credentialFingerprint,
  type CredentialRequest,
  Secret,
} from "../../../../lib/model/mod.ts";
import { settle } from "../../../fakes/clock.ts";
import { exited } from "../../../fakes/process.ts";
import { ask, jwt, kubelet, pairs, response } from "./plugins.ts";

const A = { name: "a", matchImages: ["*.example.com"] };
const IMAGES = Array.from({ length: 1_000 }, (_, i) => `reg.example.com/app${i}`);

/** A provider whose plugin counts up: `u:1`, `u:2`, … */
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
  Deno.test(`Plugin runs once for 1,000 callers of one scope (${type})`, async () => {
    const { provider, runner } = counting("1h", type);
    const outcomes = await Promise.all(IMAGES.map((ref) => provider.provide(ask(ref))));
    ok(outcomes.every((outcome) => pairs(outcome)[0] === "u:1"));
    equal(runner.requests.length, 1);
    const reasons = Map.groupBy(outcomes, ({ reason }) => reason);
    equal(reasons.get("found")?.length, 1);
    equal(reasons.get("shared-execution")?.length, 999);
    equal((await provider.provide(ask("reg.example.com/x"))).reason, "found-in-cache");
  });
}

Deno.test("Plugin runs once an image where answers hold for images", async () => {
  const { provider, runner } = counting("1h", "Image");
  const refs = IMAGES.slice(0, 20);
  await Promise.all([...refs, ...refs].map((ref) => provider.provide(ask(ref))));
  equal(runner.requests.length, 20);
  ok(runner.mostRunning <= 4);
});

for (const duration of ["0s", "1us", "999ms"]) {
  Deno.test(`flaw 14: with cacheDuration ${duration} one execution serves a round`, async () => {
    const { provider, runner, clock } = counting(duration);
    for (const ref of IMAGES.slice(0, 100)) await provider.provide(ask(ref));
    equal(runner.requests.length, 1);
    const before = clock.wallMs();
    await clock.advance(60_000);
    for (const ref of IMAGES.slice(0, 100)) {
      await provider.provide(ask(ref, { newerThanMs: before }));
    }
    equal(runner.requests.length, 2);
  });
}

Deno.test("flaw 14: answers shorter than the wish serve the callers of one round", async () => {
  const { provider, runner, clock } = counting("5s");
  for (const ref of IMAGES.slice(0, 100)) {
    await provider.provide(ask(ref, { validUntilMs: clock.wallMs() + 3_600_000 }));
    await clock.advance(1);
  }
  equal(runner.requests.length, 1);
});

Deno.test("Plugin fetches anew when the answer at hand does not live as long as wanted", async () => {
  const { provider, runner, clock } = counting("10m");
  await provider.provide(ask("reg.example.com/x"));
  const near = ask("reg.example.com/x", { validUntilMs: clock.wallMs() + 60_000 });
  deepEqual(pairs(await provider.provide(near)), ["u:1"]);
  const far = ask("reg.example.com/x", { validUntilMs: clock.wallMs() + 3_600_000 });
  deepEqual(pairs(await provider.provide(far)), ["u:2"], "a fresh one is taken as it is");
  equal(runner.requests.length, 2);
});

Deno.test("Plugin goes by the hard clock where it is known", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () =>
    response({ "*.example.com": ["u", jwt(clock.wallMs() + 7_200_000)] }, { duration: "1m" });
  const outcome = await provider.provide(ask("reg.example.com/x"));
  if (outcome.kind !== "found") throw new Error(outcome.reason);
  equal(outcome.candidates[0].expiresAtMs, clock.wallMs() + 7_200_000);
  equal(outcome.candidates[0].refreshAtMs, clock.wallMs() + 60_000);
  await provider.provide(ask("reg.example.com/x", { validUntilMs: clock.wallMs() + 3_600_000 }));
  equal(runner.requests.length, 1);
});

Deno.test("Plugin does not hand out a dead token, however long it may be cached", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () =>
    response({ "*.example.com": ["u", jwt(clock.wallMs() + 60_000)] }, { duration: "12h" });
  await provider.provide(ask("reg.example.com/x"));
  await clock.advance(61_000);
  await provider.provide(ask("reg.example.com/x"));
  equal(runner.requests.length, 2);
});

Deno.test("Plugin asks again at the soft end and not before", async () => {
  const { provider, runner, clock } = counting("5m");
  await provider.provide(ask("reg.example.com/x"));
  await clock.advance(299_000);
  await provider.provide(ask("reg.example.com/x"));
  equal(runner.requests.length, 1);
  await clock.advance(1_000);
  await provider.provide(ask("reg.example.com/x"));
  equal(runner.requests.length, 2);
});

Deno.test("Plugin has no soft clock for an answer that is not to be cached", async () => {
  const { provider } = counting("0s");
  const outcome = await provider.provide(ask("reg.example.com/x"));
  if (outcome.kind !== "found") throw new Error(outcome.reason);
  equal(outcome.candidates[0].refreshAtMs, undefined);
});

Deno.test("Plugin keeps that there is nothing for ten seconds, whatever the cacheDuration", async () => {
  for (
    const auth of [null, { "*.other.com": ["u", "p"] }, { "*.example.com": ["", ""] }] as const
  ) {
    const { provider, runner, clock } = kubelet([A]);
    runner.answer = () => response(auth, { duration: "12h" });
    await provider.provide(ask("reg.example.com/x"));
    await clock.advance(9_000);
    await provider.provide(ask("reg.example.com/x"));
    equal(runner.requests.length, 1);
    await clock.advance(1_000);
    await provider.provide(ask("reg.example.com/x"));
    equal(runner.requests.length, 2);
  }
});

Deno.test("Plugin: an execution begun before the wished time is not new enough to join", async () => {
  const { provider, runner, clock } = counting("1h");
  await provider.provide(ask("reg.example.com/x"));
  await clock.advance(1_000);
  runner.hold();
  const early = provider.provide(ask("reg.example.com/x", { newerThanMs: clock.wallMs() - 500 }));
  await settle();
  await clock.advance(1_000);
  const changedAtMs = clock.wallMs();
  await clock.advance(1_000);
  const late = IMAGES.slice(0, 50).map((ref) =>
    provider.provide(ask(ref, { newerThanMs: changedAtMs }))
  );
  runner.release();
  deepEqual(pairs(await early), ["u:2"]);
  ok((await Promise.all(late)).every((outcome) => pairs(outcome)[0] === "u:3"));
  equal(runner.requests.length, 3);
});

Deno.test("Plugin: a wall clock that was set back does not make every caller execute", async () => {
  const { provider, runner, clock } = counting("1h");
  await provider.provide(ask("reg.example.com/x"));
  const newerThanMs = clock.wallMs();
  clock.stepWall(-3_600_000);
  for (const ref of IMAGES.slice(0, 20)) await provider.provide(ask(ref, { newerThanMs }));
  ok(runner.requests.length <= 2, `${runner.requests.length} executions`);
});

Deno.test("flaw 5: a failing plugin is run once a backoff step, whatever the number of images", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => exited("", 1);
  const reasons = new Set<string>();
  for (const ref of IMAGES) reasons.add((await provider.provide(ask(ref))).reason);
  equal(runner.requests.length, 1);
  deepEqual([...reasons], ["plugin-failed", "plugin-backing-off"]);
  await clock.advance(2_000);
  await Promise.all(IMAGES.map((ref) => provider.provide(ask(ref))));
  equal(runner.requests.length, 2, "side by side it is one step as well");
});

Deno.test("flaw 5: also a plugin that had answered by image is probed by one execution", async () => {
  const { provider, runner, clock } = counting("1m", "Image");
  await provider.provide(ask("reg.example.com/x"));
  await clock.advance(61_000);
  runner.answer = () => exited("", 1);
  await Promise.all(IMAGES.map((ref) => provider.provide(ask(ref))));
  ok(runner.requests.length <= 1 + 4, "no more than run side by side");
  const before = runner.requests.length;
  await clock.advance(600_000);
  await Promise.all(IMAGES.map((ref) => provider.provide(ask(ref))));
  equal(runner.requests.length, before + 1);
});

Deno.test("Plugin's pauses grow to five minutes, and an urgent caller waits five seconds at most", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => exited("", 1);
  let longestMs = 0;
  for (let failure = 0; failure < 30; failure++) {
    const outcome = await provider.provide(ask("reg.example.com/x"));
    if (outcome.kind !== "failed") throw new Error(outcome.kind);
    const pauseMs = (outcome.retryAtMs ?? NaN) - clock.wallMs();
    ok(pauseMs >= 1_000 && pauseMs <= 300_000, `${pauseMs} ms`);
    longestMs = Math.max(longestMs, pauseMs);
    if (failure < 29) await clock.advance(Math.ceil(pauseMs));
  }
  ok(longestMs > 60_000);
  equal(runner.requests.length, 30);
  await clock.advance(4_000);
  await provider.provide(ask("reg.example.com/x", { urgent: true }));
  await clock.advance(1_001);
  await provider.provide(ask("reg.example.com/x"));
  equal(runner.requests.length, 30);
  await provider.provide(ask("reg.example.com/x", { urgent: true }));
  equal(runner.requests.length, 31);
});

Deno.test("Plugin forgets its failures at the first success", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => exited("", 1);
  await provider.provide(ask("reg.example.com/x"));
  await clock.advance(2_000);
  runner.answer = () => response({ "*.example.com": ["u", "p"] });
  deepEqual(pairs(await provider.provide(ask("reg.example.com/x"))), ["u:p"]);
  const later = { newerThanMs: clock.wallMs() };
  deepEqual(pairs(await provider.provide(ask("reg.example.com/y", later))), ["u:p"]);
});

Deno.test("Plugin that is missing is looked for again within ten seconds", async () => {
  const { provider, runner, clock } = kubelet([A]);
  runner.answer = () => ({ kind: "not-started", reason: "missing" });
  for (let i = 0; i < 8; i++) {
    await provider.provide(ask("reg.example.com/x"));
    await clock.advance(10_000);
  }
  equal(runner.requests.length, 8);
});

Deno.test("Plugin: a refusal is past cache and backoff, once a step", async () => {
  const { provider, runner, clock } = kubelet([{ name: "p", matchImages: ["reg.io"] }]);
  const refused = (password: string) => {
    const credential = { kind: "basic", username: "u", password: new Secret(password) } as const;
    return { refused: { fingerprint: credentialFingerprint(credential) }, urgent: true };
  };
  const executions = async (more: Partial<CredentialRequest> = {}) => {
    const before = runner.requests.length;
    await provider.provide(ask("reg.io/app", more));
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
  equal(await executions(newer()), 0, "it is left alone after its failures");
  equal(await executions(refused("old")), 1, "the refusal does not wait for that");
  equal(await executions(refused("new")), 0, "a step has not passed");
  await clock.advance(5_000);
  equal(await executions(refused("new")), 1);
  await clock.advance(5_000);
  equal(await executions(refused("new")), 0);
});

Deno.test("Plugin: what it said last is at hand where it may not be run, also after another scope", async () => {
  const { provider, runner, clock } = kubelet([{ name: "p", matchImages: ["reg.io"] }]);
  const refused = (password: string) => {
    const credential = { kind: "basic", username: "u", password: new Secret(password) } as const;
    return { refused: { fingerprint: credentialFingerprint(credential) } };
  };
  for (const [type, password] of [["Image", "first"], ["Registry", "last"]] as const) {
    runner.answer = () => response({ "reg.io": ["u", password] }, { type, duration: "2s" });
    deepEqual(pairs(await provider.provide(ask("reg.io/app"))), [`u:${password}`]);
    await clock.advance(3_000);
  }
  const asked = async () => pairs(await provider.provide(ask("reg.io/app", refused("last"))));
  deepEqual(await asked(), ["u:last"], "run once more");
  const before = runner.requests.length;
  deepEqual(await asked(), ["u:last"]);
  equal(runner.requests.length, before, "a step has not passed");
});
