import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { Refusals } from "../../../lib/model/mod.ts";

const SECOND = 1_000;
const MINUTE = 60_000;

/** Returns the seconds at which a fetch is forced, with a refusal every second. */
function forcedSeconds(refusals: Refusals, seconds: number, worked?: (second: number) => boolean) {
  const forced: number[] = [];
  for (let s = 0; s <= seconds; s++) {
    const may = refusals.mayForce("i", s * SECOND, { worked: worked?.(s) === true });
    if (may) forced.push(s);
  }
  return forced;
}

Deno.test("Refusals: allows the first fetch, then with delays up to five minutes", () => {
  const forced = forcedSeconds(new Refusals(), 3_600);
  deepStrictEqual(forced.slice(0, 8), [0, 5, 15, 35, 75, 155, 315, 615]);
  ok(forced.slice(7).every((s, i, all) => i === 0 || s - (all[i - 1] ?? 0) === 300), `${forced}`);
});

Deno.test("Refusals: resets the delay after ten minutes without a refusal", () => {
  const refusals = new Refusals();
  forcedSeconds(refusals, 16);
  strictEqual(refusals.mayForce("i", 16 * SECOND + 10 * MINUTE - 1), true);
  strictEqual(refusals.mayForce("i", 26 * SECOND + 10 * MINUTE), false, "the fourth in a row");
  strictEqual(refusals.mayForce("i", 26 * SECOND + 20 * MINUTE), true);
  strictEqual(refusals.mayForce("i", 31 * SECOND + 20 * MINUTE), true, "the second in a row");
});

Deno.test("Refusals: resets the delay for a credential that had worked, at most once per minute", () => {
  const refusals = new Refusals();
  deepStrictEqual(forcedSeconds(refusals, 100), [0, 5, 15, 35, 75]);
  strictEqual(refusals.mayForce("i", 134 * SECOND, { worked: true }), false);
  strictEqual(refusals.mayForce("i", 135 * SECOND, { worked: true }), true);
  strictEqual(refusals.mayForce("i", 140 * SECOND), true, "the second in a row");
  // A registry that refuses every second read.
  const intermittent = forcedSeconds(new Refusals(), 3_600, (second) => second % 2 === 0);
  ok(intermittent.length <= 5 * 60, `${intermittent.length} in an hour`);
});

Deno.test("Refusals: resets the delay when the forced fetch returned another credential that worked", () => {
  const refusals = new Refusals();
  const forced = (s: number, fingerprint: string, worked: boolean) =>
    refusals.mayForce("i", s * SECOND, { fingerprint, worked });
  // The credential is revoked every ten seconds.
  for (let i = 0; i < 6; i++) strictEqual(forced(i * 10, `c${i}`, true), true, `number ${i}`);
  strictEqual(forced(51, "c5", true), false, "the same credential");
  strictEqual(forced(52, "c6", false), false, "another one, which never worked");
  strictEqual(forced(53, "c6", true), true);
});

Deno.test("Refusals: allows ten resets in a row, and one more per minute", () => {
  const refusals = new Refusals();
  const forced = (atMs: number, i: number) =>
    refusals.mayForce("i", atMs, { fingerprint: `c${i}`, worked: true });
  for (let i = 0; i < 10; i++) strictEqual(forced(0, i), true, `number ${i}`);
  strictEqual(forced(0, 10), false);
  strictEqual(forced(MINUTE - 1, 11), true, "after the delay, not by a reset");
  strictEqual(forced(MINUTE, 12), true, "by a reset");
  strictEqual(forced(MINUTE, 13), false);
});

Deno.test("Refusals: limits early resets when a registry refuses intermittently", () => {
  const refusals = new Refusals();
  let count = 0;
  for (let s = 0; s < 3_600; s += 4) {
    if (refusals.mayForce("i", s * SECOND, { fingerprint: `c${count}`, worked: true })) count++;
  }
  ok(count > 60 && count <= 5 * 60, `${count} in an hour`);
});

Deno.test("Refusals: drops the oldest of more than 10,000 subjects", () => {
  const refusals = new Refusals();
  strictEqual(refusals.mayForce("i", 0), true);
  for (let i = 1; i < 10_000; i++) refusals.mayForce(`other ${i}`, 1);
  strictEqual(refusals.mayForce("i", 2), false, "now the newest");
  for (let i = 0; i < 10_000; i++) refusals.mayForce(`another ${i}`, 3);
  strictEqual(refusals.mayForce("i", 4), true);
});
