import { deepStrictEqual, equal, ok } from "node:assert/strict";
import { credentialFingerprint, parseImageReference } from "../../../lib/model/mod.ts";
import { basic, found, IMAGE, none, SECOND, Stage } from "./reconciler_stage.ts";

const OTHER = parseImageReference("registry.example.com/other:v1");
const MINUTE = 60 * SECOND;

/** A running node with one mount, whose image has the credential `first`. */
async function withMount(work: (stage: Stage) => Promise<void>): Promise<void> {
  const stage = new Stage();
  stage.answer = () => found(stage.clock, "first", { expiresAtMs: stage.clock.wallMs() + MINUTE });
  stage.daemon("d1", [{ snapshotId: "1" }]);
  await stage.run(async () => {
    stage.requests.length = 0;
    await work(stage);
  });
}

Deno.test("OnDemandRequests: returns the stored credential unless a client needs more", async () => {
  await withMount(async ({ reconciler: { onDemand }, clock, requests }) => {
    const lookup = { image: IMAGE, labels: {} };
    const passes = async (change: { validUntilMs?: number; labels?: Record<string, string> }) => {
      requests.length = 0;
      const { answer, attempts } = await onDemand.credential({ ...lookup, ...change });
      ok(answer);
      equal(attempts.length, requests.length);
      return requests.length === 1;
    };
    equal(await passes({}), false);
    equal(await passes({ validUntilMs: clock.wallMs() + 59 * SECOND }), false);
    equal(await passes({ validUntilMs: clock.wallMs() + 60 * SECOND }), true);
    equal(await passes({ labels: { user: "u" } }), true);
    deepStrictEqual(requests[0]?.labels, { user: "u" });
  });
});

Deno.test("OnDemandRequests: returns an expired credential only when no source has another", async () => {
  await withMount(async (stage) => {
    const { reconciler: { onDemand }, clock } = stage;
    stage.answer = () => none();
    await clock.advance(MINUTE);
    const { answer } = await onDemand.credential({ image: IMAGE, labels: {} });
    deepStrictEqual([answer?.expired, answer?.provider], [true, "kubelet"]);
    stage.answer = () => found(clock, "second", { expiresAtMs: clock.wallMs() });
    const { answer: later } = await onDemand.credential({ image: IMAGE, labels: {} });
    deepStrictEqual(
      [later?.expired, later?.fingerprint],
      [true, credentialFingerprint(basic("second"))],
    );
  });
});

Deno.test("OnDemandRequests: a refusal of an unmounted image's credential is requested urgently", async () => {
  await withMount(async (stage) => {
    const { reconciler: { onDemand }, clock, requests } = stage;
    stage.answer = () => found(clock, "theirs");
    const fingerprint = credentialFingerprint(basic("theirs"));
    const fetchedAtMs = clock.wallMs();
    equal(await onDemand.refused(OTHER, "00000000"), "not-current");
    requests.length = 0;
    equal(await onDemand.refused(OTHER, fingerprint), "requested");
    deepStrictEqual(requests.at(-1), {
      image: OTHER,
      labels: {},
      newerThanMs: fetchedAtMs,
      urgent: true,
      refused: { fingerprint },
    });
    equal(await onDemand.refused(OTHER, fingerprint), "backing-off");
    await clock.advance(5 * SECOND);
    equal(await onDemand.refused(OTHER, fingerprint), "requested");
  });
});

Deno.test("OnDemandRequests: a refusal is requested for the image that has the credential", async () => {
  const stage = new Stage();
  stage.answer = () => found(stage.clock, "first");
  stage.daemon("d1", [{ snapshotId: "1" }, { snapshotId: "2", image: OTHER.text }]);
  await stage.run(async () => {
    stage.requests.length = 0;
    stage.answer = () => found(stage.clock, "second");
    const fingerprint = credentialFingerprint(basic("first"));
    equal(await stage.reconciler.onDemand.refused(OTHER, fingerprint), "requested");
    deepStrictEqual(stage.requests[0]?.image, OTHER);
  });
});

Deno.test("OnDemandRequests: a user's request goes past caches and backoff", async () => {
  await withMount(async (stage) => {
    const { reconciler: { onDemand }, clock, requests } = stage;
    const wallMs = clock.wallMs();
    const forced = { newerThanMs: wallMs - 1, forcedAtMs: clock.monotonicMs() };
    deepStrictEqual(await onDemand.renew(OTHER), [
      { image: OTHER.text, result: "changed", provider: "kubelet" },
    ]);
    deepStrictEqual(requests.at(-1), { image: OTHER, labels: {}, ...forced });
    stage.answer = () => none();
    deepStrictEqual(await onDemand.renew(OTHER), [{ image: OTHER.text, result: "none" }]);
    stage.answer = () => ({ kind: "failed", reason: "plugin-failed", detail: "exit 1", notes: [] });
    deepStrictEqual(await onDemand.renew(OTHER), [
      { image: OTHER.text, result: "failed", provider: "kubelet", detail: "exit 1" },
    ]);
    const own = { image: IMAGE.text, provider: "kubelet" };
    deepStrictEqual(await onDemand.renew(IMAGE), [{ ...own, result: "failed", detail: "exit 1" }]);
    stage.answer = () => found(clock, "first");
    deepStrictEqual(await onDemand.renew(), [{ ...own, result: "same" }]);
    const { newerThanMs, forcedAtMs } = requests.at(-1) ?? {};
    deepStrictEqual({ newerThanMs, forcedAtMs }, forced);
    stage.answer = () => found(clock, "second");
    deepStrictEqual(await onDemand.renew(), [{ ...own, result: "changed" }]);
  });
});
