import { deepEqual, equal, ok } from "node:assert/strict";
import {
  type Candidate,
  type Credential,
  credentialSecret,
  parseImageReference,
  type ProbeVerdict,
  Secret,
} from "../../../lib/model/mod.ts";
import type { Verify } from "../../../lib/verification/selection_rules.ts";
import {
  CandidateSelector,
  type ScoredCandidate,
  type SelectionRequest,
  VerdictHistory,
} from "../../../lib/verification/candidate_selector.ts";
import { defaultProbeTarget } from "../../../lib/verification/probe.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";

const IMAGE = parseImageReference("registry.example.com/team/app:1");
const MINUTE = 60_000;

function scored(password: string, more: Partial<Candidate> = {}): ScoredCandidate {
  const credential: Credential = { kind: "basic", username: "u", password: new Secret(password) };
  const candidate = { credential, origin: `secret ${password}`, fetchedAtMs: 0, watched: true };
  return { provider: "kubesecret", candidate: { ...candidate, ...more } };
}

/** A credential issued by a plugin. */
const issued = (password: string, plugin = "ecr") =>
  scored(password, { origin: plugin, plugin, watched: false });

/** A selector with a fake registry. */
class Stage {
  readonly clock = new FakeClock();
  readonly observer = new FakeObserver();
  readonly probed: string[] = [];
  verify: Verify = "as-needed";
  verdicts: Record<string, ProbeVerdict["kind"]> = {};
  readonly selector = new CandidateSelector({
    clock: this.clock,
    observer: this.observer,
    verify: () => this.verify,
    probe: {
      probe: async (_target, credential) => {
        await Promise.resolve();
        const name = credential === undefined ? "" : credentialSecret(credential).reveal();
        this.probed.push(name);
        const kind = this.verdicts[name] ?? "refused";
        return kind === "throttled"
          ? { kind, detail: "later", retryAtMs: this.clock.wallMs() + 5 * MINUTE }
          : { kind, detail: `responded ${kind}` };
      },
    },
  });

  async select(offered: ScoredCandidate[], more: Partial<SelectionRequest> = {}) {
    const target = defaultProbeTarget(more.image ?? IMAGE);
    const request = { image: IMAGE, target, offered, readsRefused: false, ...more };
    const selection = await this.selector.select(request);
    return {
      ...selection,
      name: credentialSecret(selection.winner.candidate.credential).reveal(),
    };
  }
}

const using = (inUse: ScoredCandidate, proven = true) => ({ inUse: { ...inUse, proven } });

Deno.test("CandidateSelector: probes in order until one is accepted, and remembers verdicts", async () => {
  const stage = new Stage();
  stage.verdicts = { b: "accepted" };
  const offered = ["a", "b", "c"].map((name) => scored(name));
  const first = await stage.select(offered);
  deepEqual([first.name, first.reason, first.kind], ["b", "accepted", "selected"]);
  equal(first.detail, "the registry accepts it; secret a: refused, responded refused");
  deepEqual(first.otherCandidates.map(({ candidate }) => candidate.origin), [
    "secret c",
    "secret a",
  ]);
  await stage.select(offered);
  await stage.select(offered, using(scored("b")));
  deepEqual(stage.probed, ["a", "b"]);
  deepEqual(stage.observer.of("registry-probed").map(({ verdict }) => verdict), [
    "refused",
    "accepted",
  ]);
  ok(!JSON.stringify(stage.observer.events).includes('"password"'));
});

Deno.test("CandidateSelector: shares a probe between concurrent selections", async () => {
  const stage = new Stage();
  stage.verdicts = { a: "accepted" };
  const offered = [scored("a"), scored("b")];
  const other = parseImageReference("registry.example.com/team/app:2");
  await Promise.all([stage.select(offered), stage.select(offered, { image: other })]);
  deepEqual(stage.probed, ["a"]);
  await stage.select(offered, { image: parseImageReference("registry.example.com/team/other:2") });
  deepEqual(stage.probed, ["a", "a"]); // another repository may have other permissions
});

Deno.test("CandidateSelector: pauses probes of an unavailable registry, then resumes", async () => {
  const pausesMs = { unreachable: 10_000, throttled: 5 * MINUTE } as const;
  for (const kind of ["unreachable", "throttled"] as const) {
    const stage = new Stage();
    stage.verdicts = { a: kind, b: "accepted" };
    const offered = [scored("a"), scored("b")];
    deepEqual((await stage.select(offered)).name, "a");
    await stage.select(offered);
    await stage.clock.advance(pausesMs[kind] - 1);
    await stage.select(offered);
    deepEqual(stage.probed, ["a"]);
    stage.verdicts = { b: "accepted" };
    await stage.clock.advance(1);
    equal((await stage.select(offered)).name, "b");
  }
});

Deno.test("CandidateSelector: limits concurrent probes of an unresponsive registry", async () => {
  const stage = new Stage();
  stage.verdicts = { a: "unreachable" };
  const offered = [scored("a"), scored("b")];
  const images = Array.from(
    { length: 40 },
    (_, i) => parseImageReference(`registry.example.com/team/app-${i}:1`),
  );
  const selections = await Promise.all(images.map((image) => stage.select(offered, { image })));
  deepEqual(new Set(selections.map(({ name }) => name)), new Set(["a"]));
  equal(stage.probed.length, 8); // concurrent probes, before the first response
});

Deno.test("CandidateSelector: does not probe a renewed credential of a plugin", async () => {
  const stage = new Stage();
  stage.verdicts = { t1: "accepted" };
  const other = scored("z");
  equal((await stage.select([issued("t1"), other])).name, "t1");
  for (const name of ["t2", "t3", "t4"]) {
    equal((await stage.select([issued(name), other], using(issued("t1")))).name, name);
  }
  deepEqual(stage.probed, ["t1"]);
  stage.verify = "on-change";
  stage.verdicts = { t5: "accepted" };
  equal((await stage.select([issued("t5"), other], using(issued("t4")))).name, "t5");
  deepEqual(stage.probed, ["t1", "t5"]);
});

Deno.test("CandidateSelector: refused reads cause another probe, and override a recent verdict", async () => {
  const stage = new Stage();
  stage.verdicts = { a: "accepted", b: "accepted" };
  const offered = [scored("a"), scored("b")];
  await stage.select(offered);
  await stage.clock.advance(10 * MINUTE);
  // After ten minutes, the registry is probed again and accepts it.
  const again = await stage.select(offered, { ...using(scored("a"), false), readsRefused: true });
  deepEqual([again.name, stage.probed], ["a", ["a", "a"]]);
  // Reads are still refused: the next candidate is probed, and the first is not probed again.
  await stage.clock.advance(MINUTE);
  const next = await stage.select(offered, { ...using(scored("a"), false), readsRefused: true });
  deepEqual([next.name, stage.probed], ["b", ["a", "a", "b"]]);
});

Deno.test("CandidateSelector: without probes, skips a source after two refused credentials", async () => {
  const stage = new Stage();
  stage.verify = "never";
  const other = scored("z");
  const refused = (name: string) => ({ ...using(issued(name), false), readsRefused: true });
  // Another credential of the same source comes first: only one may have been revoked.
  equal((await stage.select([issued("t2"), other], refused("t1"))).name, "t2");
  await stage.clock.advance(10_000);
  equal((await stage.select([issued("t3"), other], refused("t2"))).name, "z");
  deepEqual(stage.probed, []);
});

Deno.test("CandidateSelector: reports how long a probe took", async () => {
  const stage = new Stage();
  await stage.clock.advance(MINUTE);
  await stage.select([scored("a"), scored("b")]);
  deepEqual(stage.observer.of("registry-probed").map(({ durationMs }) => durationMs), [0, 0]);
});

Deno.test("VerdictHistory: an accepted credential clears the refusals of its source", () => {
  const history = new VerdictHistory();
  const scope = { target: defaultProbeTarget(IMAGE), perToken: true };
  const isRefused = () => history.get(scope, issued("new").candidate).refusedAtMs !== undefined;
  history.recordRefusedReads(scope, issued("t1").candidate, 0);
  history.recordProbe(scope, issued("t2").candidate, { kind: "accepted", detail: "" }, 1);
  history.recordRefusedReads(scope, issued("t2").candidate, 2);
  equal(isRefused(), false);
  history.recordRefusedReads(scope, issued("t3").candidate, 3);
  equal(isRefused(), true);
});

Deno.test("CandidateSelector: returns to the previous candidate until it expires", async () => {
  const stage = new Stage();
  stage.verify = "never";
  const endsAtMs = stage.clock.wallMs() + 60 * MINUTE;
  const old = scored("old", { watched: false, expiresAtMs: endsAtMs });
  await stage.select([issued("bad")], using(old));
  const refused = { ...using(issued("bad"), false), readsRefused: true };
  const back = await stage.select([issued("bad")], refused);
  deepEqual([back.name, back.kind, back.reason], ["old", "selected", "kept"]);
  await stage.clock.advance(61 * MINUTE);
  equal((await stage.select([issued("bad")], refused)).name, "bad");
});

Deno.test("CandidateSelector: keeps the old of two valid credentials until the new one works", async () => {
  const stage = new Stage();
  stage.verify = "never";
  const [fresh, old] = [issued("new"), issued("old")];
  const both = [fresh, old];
  equal((await stage.select(both, using(old))).name, "old", "it works, and is offered");
  const revoked = { ...using(old, false), readsRefused: true };
  equal((await stage.select(both, revoked)).name, "new");
  // Reads prove the new one; the old one is no longer offered, and stays as the fallback.
  const late = new Stage();
  late.verify = "never";
  equal((await late.select([fresh], using(old))).name, "new");
  const refused = { ...using(fresh, false), readsRefused: true };
  equal((await late.select([fresh], refused)).name, "old", "while the new one is refused");
});

Deno.test("CandidateSelector: does not keep a credential of a service account that is no longer offered", async () => {
  const stage = new Stage();
  const named = issued("theirs");
  const inUse = { ...named, candidate: { ...named.candidate, account: "n/someone" } };
  const selection = await stage.select([scored("bad")], using(inUse));
  deepEqual([selection.name, selection.kind], ["bad", "selected"]);
});

Deno.test("CandidateSelector: ranks identity tokens last", async () => {
  const stage = new Stage();
  stage.verify = "never";
  const credential = { kind: "identity-token", username: "", token: new Secret("i") } as const;
  const { winner } = await stage.select([scored("x", { credential }), scored("b")]);
  equal(winner.candidate.credential.kind, "basic");
});

Deno.test("CandidateSelector: reports when all offered candidates are refused", async () => {
  const stage = new Stage();
  const selection = await stage.select([scored("a")], using(scored("current")));
  deepEqual([selection.kind, selection.name, selection.exhausted], ["kept", "current", true]);
  stage.verdicts = { b: "accepted" };
  const more = [scored("a"), scored("b")];
  const all = await stage.select(more, using(scored("current")));
  deepEqual([all.kind, all.name, all.exhausted], ["selected", "b", false]);
  deepEqual(stage.probed, ["a", "b"]);
});

Deno.test("CandidateSelector: compares the candidate in use regardless of the number of offers", async () => {
  const crowd = Array.from({ length: 257 }, (_, i) => scored(`hostile${i}`));
  for (const works of [true, false]) {
    const stage = new Stage();
    const good = scored("good");
    // It stays in use when it is offered beyond the limit, and when it is no longer offered.
    for (const offered of [[...crowd, good], crowd]) {
      const selection = await stage.select(offered, using(good, works));
      equal(selection.name, "good", `proven ${works}, ${offered.length} offered`);
      stage.verdicts = { good: "accepted" };
    }
  }
});

Deno.test("CandidateSelector: keeps the candidate in use when the registry is unavailable", async () => {
  const stage = new Stage();
  const good = scored("good");
  const offered = [scored("hostile"), good];
  stage.verdicts = { hostile: "throttled" };
  equal((await stage.select(offered, using(good, false))).name, "good");
});

Deno.test("CandidateSelector: never replaces the one in use with one that the registry refused", async () => {
  const stage = new Stage();
  const good = scored("good");
  const offered = [scored("hostile"), good];
  await stage.select(offered, using(good, false));
  const refused = { ...using(good, false), readsRefused: true };
  for (let i = 0; i < 4; i++) {
    // The registry first refuses everything, then does not respond.
    stage.verdicts = i < 2 ? {} : { hostile: "unreachable", good: "unreachable" };
    await stage.clock.advance(MINUTE);
    equal((await stage.select(offered, refused)).name, "good", `iteration ${i}`);
  }
  stage.verdicts = { hostile: "accepted" };
  await stage.clock.advance(MINUTE);
  equal((await stage.select(offered, refused)).name, "hostile", "it was granted the permission");
});
