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
} from "../../../lib/verification/candidate_selector.ts";
import { defaultProbeTarget } from "../../../lib/verification/target.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";

const IMAGE = parseImageReference("registry.example.com/team/app:1");
const MINUTE = 60_000;

function scored(password: string, more: Partial<Candidate> = {}): ScoredCandidate {
  const credential: Credential = { kind: "basic", username: "u", password: new Secret(password) };
  const candidate = { credential, origin: `secret ${password}`, fetchedAtMs: 0, watched: true };
  return { provider: "kubesecret", candidate: { ...candidate, ...more } };
}

/** Of a plugin, which mints another one each time. */
const minted = (password: string, plugin = "ecr") =>
  scored(password, { origin: plugin, plugin, watched: false });

/** An elector before a registry that a test speaks for. */
class Stage {
  readonly clock = new FakeClock();
  readonly observer = new FakeObserver();
  readonly asked: string[] = [];
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
        this.asked.push(name);
        const kind = this.verdicts[name] ?? "refused";
        return kind === "throttled"
          ? { kind, detail: "later", retryAtMs: this.clock.wallMs() + 5 * MINUTE }
          : { kind, detail: `says ${kind}` };
      },
    },
  });

  async elect(offered: ScoredCandidate[], more: Partial<SelectionRequest> = {}) {
    const target = defaultProbeTarget(more.image ?? IMAGE);
    const request = { image: IMAGE, target, offered, readsRefused: false, ...more };
    const selection = await this.selector.elect(request);
    return {
      ...selection,
      name: credentialSecret(selection.winner.candidate.credential).reveal(),
    };
  }
}

const using = (inUse: ScoredCandidate, proven = true) => ({ inUse: { ...inUse, proven } });

Deno.test("Elector: asks in order until one is accepted, and remembers what was said", async () => {
  const stage = new Stage();
  stage.verdicts = { b: "accepted" };
  const offered = ["a", "b", "c"].map((name) => scored(name));
  const first = await stage.elect(offered);
  deepEqual([first.name, first.reason, first.kind], ["b", "accepted", "elected"]);
  equal(first.detail, "the registry accepts it; secret a: refused, says refused");
  deepEqual(first.otherCandidates.map(({ candidate }) => candidate.origin), [
    "secret c",
    "secret a",
  ]);
  await stage.elect(offered);
  await stage.elect(offered, using(scored("b")));
  deepEqual(stage.asked, ["a", "b"]);
  deepEqual(stage.observer.of("registry-probed").map(({ verdict }) => verdict), [
    "refused",
    "accepted",
  ]);
  ok(!JSON.stringify(stage.observer.events).includes('"password"'));
});

Deno.test("Elector: who asks the same at the same time shares the probe", async () => {
  const stage = new Stage();
  stage.verdicts = { a: "accepted" };
  const offered = [scored("a"), scored("b")];
  const other = parseImageReference("registry.example.com/team/app:2");
  await Promise.all([stage.elect(offered), stage.elect(offered, { image: other })]);
  deepEqual(stage.asked, ["a"]);
  await stage.elect(offered, { image: parseImageReference("registry.example.com/team/other:2") });
  deepEqual(stage.asked, ["a", "a"]); // another repository may have other rights
});

Deno.test("Elector: a registry that does not answer is left alone for a while, and nothing is lost", async () => {
  for (const kind of ["unreachable", "throttled"] as const) {
    const stage = new Stage();
    stage.verdicts = { a: kind, b: "accepted" };
    const offered = [scored("a"), scored("b")];
    deepEqual((await stage.elect(offered)).name, "a");
    await stage.elect(offered);
    deepEqual(stage.asked, ["a"]);
    stage.verdicts = { b: "accepted" };
    await stage.clock.advance(6 * MINUTE);
    equal((await stage.elect(offered)).name, "b");
  }
});

Deno.test("Elector: a registry that does not answer holds up a few images, not one after another", async () => {
  const stage = new Stage();
  stage.verdicts = { a: "unreachable" };
  const offered = [scored("a"), scored("b")];
  const images = Array.from(
    { length: 40 },
    (_, i) => parseImageReference(`registry.example.com/team/app-${i}:1`),
  );
  const selections = await Promise.all(images.map((image) => stage.elect(offered, { image })));
  deepEqual(new Set(selections.map(({ name }) => name)), new Set(["a"]));
  equal(stage.asked.length, 8); // side by side, before any was answered
});

Deno.test("Elector: a renewal of what a plugin mints is no reason to ask", async () => {
  const stage = new Stage();
  stage.verdicts = { t1: "accepted" };
  const other = scored("z");
  equal((await stage.elect([minted("t1"), other])).name, "t1");
  for (const name of ["t2", "t3", "t4"]) {
    equal((await stage.elect([minted(name), other], using(minted("t1")))).name, name);
  }
  deepEqual(stage.asked, ["t1"]);
  stage.verify = "on-change";
  stage.verdicts = { t5: "accepted" };
  equal((await stage.elect([minted("t5"), other], using(minted("t4")))).name, "t5");
  deepEqual(stage.asked, ["t1", "t5"]);
});

Deno.test("Elector: refused reads open the question again; a fresh yes gives way to them", async () => {
  const stage = new Stage();
  stage.verdicts = { a: "accepted", b: "accepted" };
  const offered = [scored("a"), scored("b")];
  await stage.elect(offered);
  await stage.clock.advance(60 * MINUTE);
  // An hour later: the registry is asked, and stays with its word.
  const again = await stage.elect(offered, { ...using(scored("a"), false), readsRefused: true });
  deepEqual([again.name, stage.asked], ["a", ["a", "a"]]);
  // Reads speak against it all the same: the next one's turn, without asking about it once more.
  await stage.clock.advance(MINUTE);
  const next = await stage.elect(offered, { ...using(scored("a"), false), readsRefused: true });
  deepEqual([next.name, stage.asked], ["b", ["a", "a", "b"]]);
});

Deno.test("Elector: without a word of the registry, what mints bad ones twice makes room", async () => {
  const stage = new Stage();
  stage.verify = "never";
  const other = scored("z");
  const refused = (name: string) => ({ ...using(minted(name), false), readsRefused: true });
  // A fresh one of the same source first: it may have been revoked alone.
  equal((await stage.elect([minted("t2"), other], refused("t1"))).name, "t2");
  await stage.clock.advance(10_000);
  equal((await stage.elect([minted("t3"), other], refused("t2"))).name, "z");
  deepEqual(stage.asked, []);
});

Deno.test("Elector: what worked before is there to go back to, while it lives", async () => {
  const stage = new Stage();
  stage.verify = "never";
  const endsAtMs = stage.clock.wallMs() + 60 * MINUTE;
  const old = scored("old", { watched: false, expiresAtMs: endsAtMs });
  await stage.elect([minted("bad")], using(old));
  const refused = { ...using(minted("bad"), false), readsRefused: true };
  const back = await stage.elect([minted("bad")], refused);
  deepEqual([back.name, back.kind, back.reason], ["old", "elected", "kept"]);
  await stage.clock.advance(61 * MINUTE);
  equal((await stage.elect([minted("bad")], refused)).name, "bad");
});

Deno.test("Elector: what was got in an account's name does not stay without its source", async () => {
  const stage = new Stage();
  const named = minted("theirs");
  const inUse = { ...named, candidate: { ...named.candidate, account: "n/someone" } };
  const selection = await stage.elect([scored("bad")], using(inUse));
  deepEqual([selection.name, selection.kind], ["bad", "elected"]);
});

Deno.test("Elector: identity tokens come last, because nydusd cannot use them", async () => {
  const stage = new Stage();
  stage.verify = "never";
  const credential = { kind: "identity-token", username: "", token: new Secret("i") } as const;
  const { winner } = await stage.elect([scored("x", { credential }), scored("b")]);
  equal(winner.candidate.credential.kind, "basic");
});

Deno.test("Elector: says when everything that is offered is refused", async () => {
  const stage = new Stage();
  const selection = await stage.elect([scored("a")], using(scored("held")));
  deepEqual([selection.kind, selection.name, selection.exhausted], ["kept", "held", true]);
  stage.verdicts = { b: "accepted" };
  const more = [scored("a"), scored("b")];
  const all = await stage.elect(more, using(scored("held")));
  deepEqual([all.kind, all.name, all.exhausted], ["elected", "b", false]);
  deepEqual(stage.asked, ["a", "b"]);
});

Deno.test("Elector: what is in use is compared, however many others are offered", async () => {
  const crowd = Array.from({ length: 400 }, (_, i) => scored(`hostile${i}`));
  for (const works of [true, false]) {
    const stage = new Stage();
    const good = scored("good");
    // Offered behind the limit, and no longer offered: in both cases it stays in use.
    for (const offered of [[...crowd, good], crowd]) {
      const selection = await stage.elect(offered, using(good, works));
      equal(selection.name, "good", `proven ${works}, ${offered.length} offered`);
      stage.verdicts = { good: "accepted" };
    }
  }
});

Deno.test("Elector: a registry that cannot be asked is no reason to replace what is in use", async () => {
  const stage = new Stage();
  const good = scored("good");
  const offered = [scored("hostile"), good];
  stage.verdicts = { hostile: "throttled" };
  equal((await stage.elect(offered, using(good, false))).name, "good");
});

Deno.test("Elector: what the registry refused does not replace what is in use, even if reads fail", async () => {
  const stage = new Stage();
  const good = scored("good");
  const offered = [scored("hostile"), good];
  await stage.elect(offered, using(good, false));
  const refused = { ...using(good, false), readsRefused: true };
  for (let i = 0; i < 4; i++) {
    // The registry refuses everything for a while, then does not answer.
    stage.verdicts = i < 2 ? {} : { hostile: "unreachable", good: "unreachable" };
    await stage.clock.advance(MINUTE);
    equal((await stage.elect(offered, refused)).name, "good", `time ${i}`);
  }
  stage.verdicts = { hostile: "accepted" };
  await stage.clock.advance(MINUTE);
  equal((await stage.elect(offered, refused)).name, "hostile", "it was granted the right");
});
