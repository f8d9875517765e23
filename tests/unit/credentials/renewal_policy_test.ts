import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  type Attempts,
  dueAtMs,
  jitterFor,
  type Lifetime,
  mandatoryAtMs,
  nextAttemptAtMs,
  type RenewalSettings,
  renewalWindow,
} from "../../../lib/credentials/mod.ts";
import { FakeRandom } from "../../fakes/random.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const AUTO: RenewalSettings = { leadTimeMs: "auto", refreshIntervalMs: 4 * MINUTE };
const T0 = Date.UTC(2026, 0, 1);

function lifetime(change: Partial<Lifetime> = {}): Lifetime {
  return { firstSeenAtMs: T0, fetchedAtMs: T0, watched: false, jitter: 0, ...change };
}

const NONE: Attempts = { unproductive: 0, draw: 0 };

/** How a source of tokens behaves in a simulation. */
interface Source {
  readonly lifetimeMs?: number;
  readonly refreshAfterMs?: number;
  readonly jitter: number;
  /** Whether the credentials say how many came before them, as the store's do. */
  readonly counted?: boolean;
  readonly down: (atMs: number) => boolean;
}

/** Runs the policy in virtual time; returns when the source was asked, and each token's life. */
function simulate(source: Source, settings: RenewalSettings, untilMs: number, seed: number) {
  const random = new FakeRandom(seed);
  const asked: { readonly atMs: number; readonly given: boolean; readonly endMs?: number }[] = [];
  let turn = 0;
  const give = (atMs: number): Lifetime =>
    lifetime({
      ...(source.counted && { turn: turn++ }),
      firstSeenAtMs: atMs,
      fetchedAtMs: atMs,
      jitter: source.jitter,
      ...(source.lifetimeMs !== undefined && { expiresAtMs: atMs + source.lifetimeMs }),
      ...(source.refreshAfterMs !== undefined && { refreshAtMs: atMs + source.refreshAfterMs }),
    });
  let now = T0;
  let current = give(now);
  let attempts: Attempts = { ...NONE, lastAtMs: now };
  asked.push({ atMs: now, given: true });
  for (let steps = 0; steps < 20_000; steps++) {
    const next = nextAttemptAtMs(current, attempts, now, settings);
    if (next === undefined || next > untilMs) return asked;
    ok(next > now || attempts.unproductive === 0, "an attempt must move time on");
    now = Math.max(next, now + 1);
    const endMs = current.expiresAtMs;
    if (source.down(now)) {
      attempts = {
        unproductive: attempts.unproductive + 1,
        lastAtMs: now,
        draw: random.next(),
      };
      asked.push({ atMs: now, given: false, ...(endMs !== undefined && { endMs }) });
    } else {
      current = give(now);
      attempts = { ...NONE, lastAtMs: now };
      asked.push({ atMs: now, given: true, ...(endMs !== undefined && { endMs }) });
    }
  }
  throw new Error("the policy spins");
}

const lives = fc.record({
  lifetimeMs: fc.option(fc.integer({ min: 4 * SECOND, max: 48 * HOUR }), { nil: undefined }),
  refreshAfterMs: fc.option(fc.integer({ min: 0, max: 48 * HOUR }), { nil: undefined }),
  jitter: fc.double({ min: 0, max: 0.999, noNaN: true }),
  counted: fc.boolean(),
  leadTimeMs: fc.oneof(fc.constant("auto" as const), fc.integer({ min: 0, max: 72 * HOUR })),
  seed: fc.integer(),
});

Deno.test("nextAttemptAtMs asks at most twice in any life while the weather is calm", () => {
  fc.assert(
    fc.property(lives, ({ lifetimeMs, refreshAfterMs, jitter, counted, leadTimeMs, seed }) => {
      const settings = { leadTimeMs, refreshIntervalMs: 4 * MINUTE };
      const soft = refreshAfterMs !== undefined && refreshAfterMs >= SECOND
        ? refreshAfterMs
        : Infinity;
      const governing = Math.min(lifetimeMs ?? Infinity, soft);
      const span = governing === Infinity ? settings.refreshIntervalMs : governing;
      const asked = simulate(
        { jitter, counted, down: () => false, ...defined({ lifetimeMs, refreshAfterMs }) },
        settings,
        T0 + span * 20,
        seed,
      );
      for (const { atMs } of asked) {
        const within = asked.filter((a) => a.atMs >= atMs && a.atMs < atMs + span);
        ok(within.length <= 2, `${within.length} executions in one life`);
      }
      for (const { atMs, endMs } of asked) ok(endMs === undefined || atMs < endMs, "it was late");
    }),
  );
});

Deno.test("nextAttemptAtMs misses no renewal that could be had, whatever the outages", () => {
  const outages = fc.array(
    fc.record({
      from: fc.double({ min: 0, max: 10, noNaN: true }),
      span: fc.double({ min: 0, max: 3, noNaN: true }),
    }),
    { maxLength: 6 },
  );
  fc.assert(
    fc.property(
      lives,
      outages,
      ({ lifetimeMs, refreshAfterMs, jitter, counted, leadTimeMs, seed }, downs) => {
        if (lifetimeMs === undefined || lifetimeMs > 6 * HOUR) return;
        const down = (atMs: number) =>
          downs.some(({ from, span }) => {
            const at = (atMs - T0) / lifetimeMs;
            return at >= from && at < from + span;
          });
        const settings = { leadTimeMs, refreshIntervalMs: 4 * MINUTE };
        const source = { lifetimeMs, jitter, counted, down, ...defined({ refreshAfterMs }) };
        const asked = simulate(source, settings, T0 + lifetimeMs * 12, seed);
        let endMs = T0 + lifetimeMs;
        let lastAskedMs = T0;
        for (const ask of asked.slice(1)) {
          if (ask.given && ask.atMs > endMs) {
            // Late: then the source must have been down at the very end of the life, when the last
            // retries were made (a quarter of what was left, or 250 ms, before).
            const triedMs = asked.filter((a) => a.atMs < endMs).at(-1)?.atMs ?? lastAskedMs;
            ok(down(triedMs) || endMs - triedMs <= 250, "the source was up and was not asked");
            ok(endMs - triedMs <= Math.max(lifetimeMs / 3, 250) + 1, "nobody asked near the end");
          }
          if (ask.given) endMs = ask.atMs + lifetimeMs;
          lastAskedMs = ask.atMs;
        }
      },
    ),
  );
});

Deno.test("nextAttemptAtMs keeps attempts apart while a source stays down", () => {
  fc.assert(
    fc.property(lives, ({ lifetimeMs, refreshAfterMs, jitter, counted, leadTimeMs, seed }) => {
      const settings = { leadTimeMs, refreshIntervalMs: 4 * MINUTE };
      const source = {
        jitter,
        counted,
        down: () => true,
        ...defined({ lifetimeMs, refreshAfterMs }),
      };
      const asked = simulate(source, settings, T0 + (lifetimeMs ?? HOUR) + HOUR, seed);
      for (let i = 2; i < asked.length; i++) {
        const gapMs = (asked[i]?.atMs ?? 0) - (asked[i - 1]?.atMs ?? 0);
        ok(gapMs >= 249, `attempts ${gapMs} ms apart`);
      }
    }),
  );
});

Deno.test("nextAttemptAtMs in the advisory window never waits beyond a quarter of what is left", () => {
  const l = lifetime({ expiresAtMs: T0 + 12 * HOUR });
  const at = T0 + 9 * HOUR;
  const attempts: Attempts = { unproductive: 15, lastAtMs: at, draw: 0.999 };
  const next = nextAttemptAtMs(l, attempts, at, AUTO) ?? Infinity;
  ok(next - at <= 45 * MINUTE && next - at <= 15 * MINUTE);
  const short = lifetime({ expiresAtMs: T0 + 60 * SECOND });
  const late: Attempts = { unproductive: 15, lastAtMs: T0 + 38 * SECOND, draw: 0.999 };
  ok((nextAttemptAtMs(short, late, T0 + 38 * SECOND, AUTO) ?? Infinity) <= T0 + 43.5 * SECOND);
});

Deno.test("nextAttemptAtMs honours Retry-After until the mandatory window begins", () => {
  const l = lifetime({ expiresAtMs: T0 + 12 * HOUR });
  const at = T0 + 9 * HOUR;
  const asked: Attempts = { unproductive: 1, lastAtMs: at, draw: 0.5, retryAtMs: at + 30 * MINUTE };
  strictEqual(nextAttemptAtMs(l, asked, at, AUTO), at + 30 * MINUTE);
  const tooLong: Attempts = { ...asked, retryAtMs: at + 10 * HOUR };
  strictEqual(nextAttemptAtMs(l, tooLong, at, AUTO), mandatoryAtMs(l));
  const mandatory = T0 + 11.5 * HOUR;
  const urgent: Attempts = { ...tooLong, lastAtMs: mandatory };
  ok((nextAttemptAtMs(l, urgent, mandatory, AUTO) ?? Infinity) <= mandatory + 10 * SECOND);
});

Deno.test("nextAttemptAtMs is due at once when the wall clock stepped back", () => {
  const l = lifetime({ expiresAtMs: T0 + HOUR });
  const now = T0 - 5 * HOUR;
  ok((nextAttemptAtMs(l, { ...NONE, lastAtMs: T0 }, now, AUTO) ?? Infinity) <= now);
  // Once asked at the new time, it is quiet again.
  const renewed = lifetime({ firstSeenAtMs: now, fetchedAtMs: now, expiresAtMs: now + HOUR });
  ok((nextAttemptAtMs(renewed, { ...NONE, lastAtMs: now }, now, AUTO) ?? 0) > now);
});

Deno.test("dueAtMs follows the earlier clock, and a watched source has none", () => {
  const both = lifetime({ refreshAtMs: T0 + 6 * HOUR, expiresAtMs: T0 + 12 * HOUR });
  strictEqual(dueAtMs(both, AUTO), T0 + 6 * HOUR);
  const hard = lifetime({ refreshAtMs: T0 + 20 * HOUR, expiresAtMs: T0 + 12 * HOUR });
  ok((dueAtMs(hard, AUTO) ?? Infinity) <= T0 + 8 * HOUR);
  strictEqual(dueAtMs(lifetime({ watched: true }), AUTO), undefined);
  strictEqual(dueAtMs(lifetime(), AUTO), T0 + 4 * MINUTE);
});

Deno.test("dueAtMs takes a soft life of a microsecond as no hint at all", () => {
  strictEqual(dueAtMs(lifetime({ refreshAtMs: T0 + 0.001 }), AUTO), T0 + 4 * MINUTE);
  strictEqual(dueAtMs(lifetime({ refreshAtMs: T0 - HOUR }), AUTO), T0 + 4 * MINUTE);
});

Deno.test("dueAtMs caps a lead time that is longer than the life", () => {
  const due = dueAtMs(lifetime({ expiresAtMs: T0 + HOUR }), { ...AUTO, leadTimeMs: 2 * HOUR }) ?? 0;
  ok(due >= T0 + HOUR / 2, "it would renew all the time");
});

Deno.test("lifeWindow passes through its windows in order, and the hard clock alone expires", () => {
  const l = lifetime({ refreshAtMs: T0 + 6 * HOUR, expiresAtMs: T0 + 12 * HOUR });
  const at = (ms: number) => renewalWindow(l, T0 + ms, AUTO);
  deepStrictEqual(
    [0, 5.9 * HOUR, 6.5 * HOUR, 10.79 * HOUR, 10.81 * HOUR, 12 * HOUR].map(at),
    ["fresh", "fresh", "advisory", "advisory", "mandatory", "expired"],
  );
  const soft = lifetime({ refreshAtMs: T0 + HOUR });
  strictEqual(renewalWindow(soft, T0 + 100 * HOUR, AUTO), "advisory");
});

Deno.test("nextAttemptAtMs: without a hard end a source is asked no slower than while all went well", () => {
  const failing = (unproductive: number) => ({ unproductive, lastAtMs: T0 + HOUR, draw: 0.999 });
  const pauseMs = (l: Lifetime, unproductive: number) =>
    (nextAttemptAtMs(l, failing(unproductive), T0 + HOUR, AUTO) ?? 0) - T0 - HOUR;
  const short = lifetime({ refreshAtMs: T0 + 3 * SECOND });
  strictEqual(pauseMs(short, 2) < 2 * SECOND, true, "it begins short");
  strictEqual(pauseMs(short, 10), 3 * SECOND);
  ok(pauseMs(lifetime({ refreshAtMs: T0 + 6 * HOUR }), 20) > 14 * MINUTE);
  ok(pauseMs(lifetime({ refreshAtMs: T0 + 6 * HOUR }), 20) <= 15 * MINUTE);
  strictEqual(pauseMs(lifetime({}), 20), 4 * MINUTE);
  const asked = { ...failing(1), retryAtMs: T0 + HOUR + MINUTE };
  strictEqual(nextAttemptAtMs(short, asked, T0 + HOUR, AUTO), T0 + HOUR + MINUTE, "as it asks");
});

Deno.test("mandatoryAtMs is the last max(5 min, 10 %), at most a third", () => {
  const span = (lifetimeMs: number) =>
    T0 + lifetimeMs - (mandatoryAtMs(lifetime({ expiresAtMs: T0 + lifetimeMs })) ?? 0);
  strictEqual(span(12 * HOUR), 1.2 * HOUR);
  strictEqual(span(30 * MINUTE), 5 * MINUTE);
  strictEqual(span(6 * MINUTE), 2 * MINUTE);
});

Deno.test("phaseOf differs between nodes, is equal after a restart, and spreads evenly", () => {
  strictEqual(jitterFor("node-a", "kubelet"), jitterFor("node-a", "kubelet"));
  const buckets = new Array(10).fill(0);
  for (let i = 0; i < 10_000; i++) buckets[Math.floor(jitterFor(`node-${i}`, "kubelet") * 10)]++;
  for (const count of buckets) ok(count > 850 && count < 1150, `uneven: ${buckets}`);
});

function defined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, v]) => v !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
