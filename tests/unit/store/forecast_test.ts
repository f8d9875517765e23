import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { endOf, forecastLife, type Life, nextAttemptAtMs } from "../../../lib/store/mod.ts";

const HOUR = 3_600_000;
const SETTINGS = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;
const CALM = { unproductive: 0, draw: 0, lastAtMs: 0 };
const LIFE: Life = {
  bornAtMs: 0,
  fetchedAtMs: 0,
  hardExpiresAtMs: 12 * HOUR,
  watched: false,
  phase: 0.5,
};

Deno.test("forecastLife: an outage that ends before renewal is due costs nothing", () => {
  const due = nextAttemptAtMs(LIFE, CALM, 0, SETTINGS);
  const outage = { fromMs: 0, untilMs: HOUR };
  deepStrictEqual(forecastLife(LIFE, CALM, outage, SETTINGS), { failures: 0, renewedByMs: due });
});

Deno.test("forecastLife: after a long outage an expired credential is asked for within 30 s", () => {
  const untilMs = 20 * HOUR;
  const { failures, renewedByMs = 0 } = forecastLife(
    LIFE,
    CALM,
    { fromMs: 0, untilMs },
    SETTINGS,
  );
  ok(failures > 100, `${failures} attempts in more than 8 hours of expiry`);
  ok(renewedByMs >= untilMs && renewedByMs <= untilMs + 30_000, `${renewedByMs - untilMs}`);
});

Deno.test("forecastLife: what is watched is not asked by the clock", () => {
  const { hardExpiresAtMs: _, ...rest } = LIFE;
  const outage = { fromMs: 0, untilMs: HOUR };
  deepStrictEqual(forecastLife({ ...rest, watched: true }, CALM, outage, SETTINGS), {
    failures: 0,
  });
});

Deno.test("forecastLife: whatever backoffs are drawn, reality is not later", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 24 * 60 }),
    fc.integer({ min: 1, max: 24 * 60 }),
    fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 1, maxLength: 9 }),
    (lifeMinutes, downMinutes, draws) => {
      const life = { ...LIFE, hardExpiresAtMs: lifeMinutes * 60_000 };
      const untilMs = downMinutes * 60_000;
      const told = forecastLife(life, CALM, { fromMs: 0, untilMs }, SETTINGS).renewedByMs ?? NaN;
      let nowMs = 0;
      let attempts = CALM;
      for (let i = 0; i < 100_000; i++) {
        nowMs = Math.max(nowMs, nextAttemptAtMs(life, attempts, nowMs, SETTINGS) ?? Infinity);
        if (nowMs >= untilMs) break;
        const draw = draws[i % draws.length] ?? 0;
        attempts = { unproductive: attempts.unproductive + 1, lastAtMs: nowMs, draw };
      }
      ok(told >= untilMs && nowMs <= told, `${nowMs} ${told}`);
    },
  ));
});

Deno.test("endOf: the hard clock, else what was learned, else nothing", () => {
  deepStrictEqual(endOf({ ...LIFE, learnedLifeMs: 5 }), { atMs: 12 * HOUR, learned: false });
  const { hardExpiresAtMs: _, ...opaque } = { ...LIFE, bornAtMs: 7 };
  deepStrictEqual(endOf({ ...opaque, learnedLifeMs: 5 }), { atMs: 12, learned: true });
  strictEqual(endOf(opaque), undefined);
  strictEqual(endOf({ ...opaque, learnedLifeMs: 5, watched: true }), undefined);
});
