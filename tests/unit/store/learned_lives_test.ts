import { ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { type Candidate, parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { CredentialStore } from "../../../lib/store/mod.ts";
import { LearnedLives } from "../../../lib/store/learned_lives.ts";
import { FakeRandom } from "../../fakes/random.ts";

const MINUTE = 60_000;
const T0 = Date.UTC(2026, 0, 1);
const IMAGE = parseImageReference("registry.example.com/team/app:v1");

function newStore(refreshIntervalMs = 4 * MINUTE) {
  const settings = { leadTimeMs: "auto", refreshIntervalMs } as const;
  return new CredentialStore({ settings, seed: "node", random: new FakeRandom() });
}

/** Puts what a source gave at a minute, and says what is known of its tokens' lives. */
function put(store: CredentialStore, token: string, minute: number, more: Partial<Candidate> = {}) {
  const fetchedAtMs = T0 + minute * MINUTE;
  const credential = { kind: "basic", username: "u", password: new Secret(token) } as const;
  const candidate = { credential, origin: "plugin p", fetchedAtMs, watched: false, ...more };
  store.put(IMAGE, { provider: "kubelet", candidates: [candidate] }, fetchedAtMs);
  const life = store.get(IMAGE.text)?.stored?.life.learnedLifeMs;
  return life === undefined ? undefined : life / MINUTE;
}

Deno.test("a hidden life is learned from a token whose birth and end were both seen", () => {
  const store = newStore();
  put(store, "a", 0);
  put(store, "a", 30);
  strictEqual(put(store, "b", 34), undefined, "a's age at our start is not known");
  put(store, "b", 38);
  put(store, "b", 90);
  strictEqual(put(store, "c", 94), 56, "b was given out from minute 34 to minute 90");
  put(store, "c", 104);
  strictEqual(put(store, "d", 108), 10, "the shortest one counts");
});

Deno.test("nothing is learned from sources that tell, are watched, change, or never repeat", () => {
  const told = { hardExpiresAtMs: T0 + 1_000 * MINUTE };
  for (const more of [told, { watched: true }]) {
    const store = newStore();
    for (let i = 0; i < 12; i++) {
      strictEqual(put(store, `token-${i >> 2}`, i * 4, more), undefined);
    }
  }
  const restless = newStore();
  for (let i = 0; i < 12; i++) strictEqual(put(restless, `token-${i}`, i * 4), undefined);
  const moving = newStore();
  for (let i = 0; i < 12; i++) {
    const pattern = i >> 2 === 1 ? "one" : "other";
    strictEqual(put(moving, `token-${i >> 2}`, i * 4, { pattern }), undefined, "another source");
  }
});

Deno.test("a learned life makes renewal sooner, never later, and once a minute at most", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 600 }),
    fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 3, maxLength: 12 }),
    (refreshMinutes, gapsSeconds) => {
      const store = newStore(refreshMinutes * MINUTE);
      const plain = newStore(refreshMinutes * MINUTE);
      let minute = 0;
      for (const [i, gap] of gapsSeconds.entries()) {
        minute += gap / 60;
        put(store, `token-${i >> 1}`, minute);
        // One that changes every time learns nothing.
        put(plain, `token-${i}`, minute);
      }
      const due = store.get(IMAGE.text)?.nextAttemptAtMs ?? NaN;
      ok(due <= (plain.get(IMAGE.text)?.nextAttemptAtMs ?? NaN) + 1);
      ok(due >= T0 + minute * MINUTE + Math.min(refreshMinutes, 1) * MINUTE - 1);
    },
  ));
});

Deno.test("LearnedLives remembers a bounded number of sources", () => {
  const lives = new LearnedLives();
  for (let i = 0; i < 1_001; i++) lives.observe(`source-${i}`, 1_000);
  strictEqual(lives.lifeMs("source-0"), undefined);
  strictEqual(lives.lifeMs("source-1"), 1_000);
  lives.observe("source-1", NaN);
  lives.observe("source-1", -5);
  strictEqual(lives.lifeMs("source-1"), 1_000);
});
