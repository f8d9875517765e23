import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { defined } from "../../../lib/model/mod.ts";
import {
  type Attempts,
  dueAtMs,
  jitterFor,
  type Lifetime,
  mandatoryAtMs,
  nextAttemptAtMs,
  type RenewalSettings,
  renewalWindow,
} from "../../../lib/credentials/renewal_policy.ts";
import { FakeRandom } from "../../fakes/random.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const AUTO: RenewalSettings = { leadTimeMs: "auto", refreshIntervalMs: 4 * MINUTE };
const T0 = Date.UTC(2026, 0, 1);

function lifetime(change: Partial<Lifetime> = {}): Lifetime {
  return { firstSeenAtMs: T0, fetchedAtMs: T0, watched: false, jitter: 0, ...change };
}

const NONE: Attempts = { unproductive: 0, jitter: 0 };

/** Behavior of a simulated token source. */
interface Source {
  readonly lifetimeMs?: number;
  readonly refreshAfterMs?: number;
  readonly jitter: number;
  readonly down: (atMs: number) => boolean;
}

/** Runs the policy in virtual time; returns the requests and the expiry of each token. */
function simulate(source: Source, settings: RenewalSettings, untilMs: number, seed: number) {
  const random = new FakeRandom(seed);
  const requests: { readonly atMs: number; readonly ok: boolean; readonly endMs?: number }[] = [];
  const issue = (atMs: number): Lifetime =>
    lifetime({
      firstSeenAtMs: atMs,
      fetchedAtMs: atMs,
      jitter: source.jitter,
      ...(source.lifetimeMs !== undefined && { expiresAtMs: atMs + source.lifetimeMs }),
      ...(source.refreshAfterMs !== undefined && { refreshAtMs: atMs + source.refreshAfterMs }),
    });
  let now = T0;
  let current = issue(now);
  let attempts: Attempts = { ...NONE, lastAtMs: now };
  requests.push({ atMs: now, ok: true });
  for (let steps = 0; steps < 20_000; steps++) {
    const next = nextAttemptAtMs(current, attempts, now, settings);
    if (next === undefined || next > untilMs) return requests;
    ok(next > now || attempts.unproductive === 0, "the next attempt is later");
    now = Math.max(next, now + 1);
    const endMs = current.expiresAtMs;
    if (source.down(now)) {
      attempts = {
        unproductive: attempts.unproductive + 1,
        lastAtMs: now,
        jitter: random.next(),
      };
      requests.push({ atMs: now, ok: false, ...(endMs !== undefined && { endMs }) });
    } else {
      current = issue(now);
      attempts = { ...NONE, lastAtMs: now };
      requests.push({ atMs: now, ok: true, ...(endMs !== undefined && { endMs }) });
    }
  }
  throw new Error("the policy makes no progress");
}

const lifetimes = fc.record({
  lifetimeMs: fc.option(fc.integer({ min: 4 * SECOND, max: 48 * HOUR }), { nil: undefined }),
  refreshAfterMs: fc.option(fc.integer({ min: 0, max: 48 * HOUR }), { nil: undefined }),
  jitter: fc.double({ min: 0, max: 0.999, noNaN: true }),
  leadTimeMs: fc.oneof(fc.constant("auto" as const), fc.integer({ min: 0, max: 72 * HOUR })),
  seed: fc.integer(),
});

Deno.test("nextAttemptAtMs: makes at most two requests per lifetime while no request fails", () => {
  fc.assert(
    fc.property(lifetimes, ({ lifetimeMs, refreshAfterMs, jitter, leadTimeMs, seed }) => {
      const settings = { leadTimeMs, refreshIntervalMs: 4 * MINUTE };
      const refreshMs = refreshAfterMs !== undefined && refreshAfterMs >= SECOND
        ? refreshAfterMs
        : Infinity;
      const governing = Math.min(lifetimeMs ?? Infinity, refreshMs);
      const span = governing === Infinity ? settings.refreshIntervalMs : governing;
      const requests = simulate(
        { jitter, down: () => false, ...defined({ lifetimeMs, refreshAfterMs }) },
        settings,
        T0 + span * 20,
        seed,
      );
      for (const { atMs } of requests) {
        const within = requests.filter((a) => a.atMs >= atMs && a.atMs < atMs + span);
        ok(within.length <= 2, `${within.length} requests in one lifetime`);
      }
      for (const { atMs, endMs } of requests) {
        ok(endMs === undefined || atMs < endMs, "before the expiry");
      }
    }),
  );
});

Deno.test("nextAttemptAtMs: misses no possible renewal in any sequence of outages", () => {
  const outages = fc.array(
    fc.record({
      from: fc.double({ min: 0, max: 10, noNaN: true }),
      span: fc.double({ min: 0, max: 3, noNaN: true }),
    }),
    { maxLength: 6 },
  );
  fc.assert(
    fc.property(
      lifetimes,
      outages,
      ({ lifetimeMs, refreshAfterMs, jitter, leadTimeMs, seed }, downs) => {
        if (lifetimeMs === undefined || lifetimeMs > 6 * HOUR) return;
        const down = (atMs: number) =>
          downs.some(({ from, span }) => {
            const at = (atMs - T0) / lifetimeMs;
            return at >= from && at < from + span;
          });
        const settings = { leadTimeMs, refreshIntervalMs: 4 * MINUTE };
        const source = { lifetimeMs, jitter, down, ...defined({ refreshAfterMs }) };
        const requests = simulate(source, settings, T0 + lifetimeMs * 12, seed);
        let endMs = T0 + lifetimeMs;
        let lastRequestMs = T0;
        for (const request of requests.slice(1)) {
          if (request.ok && request.atMs > endMs) {
            // Late: the source was down at the last retry before the expiry, which is made at most a
            // quarter of the remaining lifetime, or 250 ms, before it.
            const triedMs = requests.filter((a) => a.atMs < endMs).at(-1)?.atMs ?? lastRequestMs;
            ok(down(triedMs) || endMs - triedMs <= 250, "no request while the source was up");
            ok(endMs - triedMs <= Math.max(lifetimeMs / 3, 250) + 1, "no request near the expiry");
          }
          if (request.ok) endMs = request.atMs + lifetimeMs;
          lastRequestMs = request.atMs;
        }
      },
    ),
  );
});

Deno.test("nextAttemptAtMs: keeps a minimum interval between attempts while a source is down", () => {
  fc.assert(
    fc.property(lifetimes, ({ lifetimeMs, refreshAfterMs, jitter, leadTimeMs, seed }) => {
      const settings = { leadTimeMs, refreshIntervalMs: 4 * MINUTE };
      const source = {
        jitter,
        down: () => true,
        ...defined({ lifetimeMs, refreshAfterMs }),
      };
      const requests = simulate(source, settings, T0 + (lifetimeMs ?? HOUR) + HOUR, seed);
      for (let i = 2; i < requests.length; i++) {
        const gapMs = (requests[i]?.atMs ?? 0) - (requests[i - 1]?.atMs ?? 0);
        ok(gapMs >= 249, `attempts ${gapMs} ms apart`);
      }
    }),
  );
});

Deno.test("nextAttemptAtMs: waits at most a quarter of the remaining lifetime in the advisory window", () => {
  const l = lifetime({ expiresAtMs: T0 + 12 * HOUR });
  const at = T0 + 9 * HOUR;
  const attempts: Attempts = { unproductive: 15, lastAtMs: at, jitter: 0.999 };
  const next = nextAttemptAtMs(l, attempts, at, AUTO) ?? Infinity;
  ok(next - at <= 45 * MINUTE && next - at <= 15 * MINUTE);
  const short = lifetime({ expiresAtMs: T0 + 60 * SECOND });
  const late: Attempts = { unproductive: 15, lastAtMs: T0 + 38 * SECOND, jitter: 0.999 };
  ok((nextAttemptAtMs(short, late, T0 + 38 * SECOND, AUTO) ?? Infinity) <= T0 + 43.5 * SECOND);
});

Deno.test("nextAttemptAtMs: respects Retry-After until the mandatory window starts", () => {
  const l = lifetime({ expiresAtMs: T0 + 12 * HOUR });
  const at = T0 + 9 * HOUR;
  const throttled: Attempts = {
    unproductive: 1,
    lastAtMs: at,
    jitter: 0.5,
    retryAtMs: at + 30 * MINUTE,
  };
  strictEqual(nextAttemptAtMs(l, throttled, at, AUTO), at + 30 * MINUTE);
  const tooLong: Attempts = { ...throttled, retryAtMs: at + 10 * HOUR };
  strictEqual(nextAttemptAtMs(l, tooLong, at, AUTO), mandatoryAtMs(l));
  const mandatory = T0 + 11.5 * HOUR;
  const urgent: Attempts = { ...tooLong, lastAtMs: mandatory };
  ok((nextAttemptAtMs(l, urgent, mandatory, AUTO) ?? Infinity) <= mandatory + 10 * SECOND);
});

Deno.test("nextAttemptAtMs: is due immediately when the wall clock was set back", () => {
  const l = lifetime({ expiresAtMs: T0 + HOUR });
  const now = T0 - 5 * HOUR;
  ok((nextAttemptAtMs(l, { ...NONE, lastAtMs: T0 }, now, AUTO) ?? Infinity) <= now);
  // After an attempt at the new time it is scheduled normally.
  const renewed = lifetime({ firstSeenAtMs: now, fetchedAtMs: now, expiresAtMs: now + HOUR });
  ok((nextAttemptAtMs(renewed, { ...NONE, lastAtMs: now }, now, AUTO) ?? 0) > now);
});

Deno.test("dueAtMs: uses refresh-after or expiry, whichever is earlier, and is undefined for a watched source", () => {
  const both = lifetime({ refreshAtMs: T0 + 6 * HOUR, expiresAtMs: T0 + 12 * HOUR });
  strictEqual(dueAtMs(both, AUTO), T0 + 6 * HOUR);
  const expiring = lifetime({ refreshAtMs: T0 + 20 * HOUR, expiresAtMs: T0 + 12 * HOUR });
  ok((dueAtMs(expiring, AUTO) ?? Infinity) <= T0 + 8 * HOUR);
  strictEqual(dueAtMs(lifetime({ watched: true }), AUTO), undefined);
  strictEqual(dueAtMs(lifetime(), AUTO), T0 + 4 * MINUTE);
});

Deno.test("dueAtMs: ignores a refresh-after below one second", () => {
  strictEqual(dueAtMs(lifetime({ refreshAtMs: T0 + 0.001 }), AUTO), T0 + 4 * MINUTE);
  strictEqual(dueAtMs(lifetime({ refreshAtMs: T0 - HOUR }), AUTO), T0 + 4 * MINUTE);
  strictEqual(dueAtMs(lifetime({ refreshAtMs: T0 + SECOND }), AUTO), T0 + 900);
});

Deno.test("dueAtMs: limits a lead time that is longer than the lifetime", () => {
  const due = dueAtMs(lifetime({ expiresAtMs: T0 + HOUR }), { ...AUTO, leadTimeMs: 2 * HOUR }) ?? 0;
  ok(due >= T0 + HOUR / 2, "not before half of the lifetime");
});

Deno.test("renewalWindow: passes through the windows in order, and expires only at the expiry", () => {
  const l = lifetime({ refreshAtMs: T0 + 6 * HOUR, expiresAtMs: T0 + 12 * HOUR });
  const at = (ms: number) => renewalWindow(l, T0 + ms, AUTO);
  deepStrictEqual(
    [0, 5.9 * HOUR, 6.5 * HOUR, 10.79 * HOUR, 10.8 * HOUR, 12 * HOUR].map(at),
    ["fresh", "fresh", "advisory", "advisory", "mandatory", "expired"],
  );
  const refreshed = lifetime({ refreshAtMs: T0 + HOUR });
  strictEqual(renewalWindow(refreshed, T0 + 100 * HOUR, AUTO), "advisory");
  strictEqual(renewalWindow(refreshed, T0 + HOUR / 2, AUTO), "unknown-lifetime");
  strictEqual(renewalWindow(lifetime({}), T0 + 100 * HOUR, AUTO), "unknown-lifetime");
});

Deno.test("nextAttemptAtMs: retries without an expiry are no slower than regular requests", () => {
  const failing = (unproductive: number) => ({ unproductive, lastAtMs: T0 + HOUR, jitter: 0.999 });
  const pauseMs = (l: Lifetime, unproductive: number) =>
    (nextAttemptAtMs(l, failing(unproductive), T0 + HOUR, AUTO) ?? 0) - T0 - HOUR;
  const short = lifetime({ refreshAtMs: T0 + 3 * SECOND });
  strictEqual(pauseMs(short, 2) < 2 * SECOND, true, "short at first");
  strictEqual(pauseMs(short, 10), 3 * SECOND);
  ok(pauseMs(lifetime({ refreshAtMs: T0 + 6 * HOUR }), 20) > 14 * MINUTE);
  ok(pauseMs(lifetime({ refreshAtMs: T0 + 6 * HOUR }), 20) <= 15 * MINUTE);
  strictEqual(pauseMs(lifetime({}), 20), 4 * MINUTE);
  const throttled = { ...failing(1), retryAtMs: T0 + HOUR + MINUTE };
  strictEqual(nextAttemptAtMs(short, throttled, T0 + HOUR, AUTO), T0 + HOUR + MINUTE);
  const nextDay = { ...failing(1), retryAtMs: T0 + 25 * HOUR };
  strictEqual(nextAttemptAtMs(short, nextDay, T0 + HOUR, AUTO), T0 + HOUR + 15 * MINUTE);
});

Deno.test("mandatoryAtMs: starts with the last 10 % or 5 minutes, at most a third", () => {
  const span = (lifetimeMs: number) =>
    T0 + lifetimeMs - (mandatoryAtMs(lifetime({ expiresAtMs: T0 + lifetimeMs })) ?? 0);
  strictEqual(span(12 * HOUR), 1.2 * HOUR);
  strictEqual(span(30 * MINUTE), 5 * MINUTE);
  strictEqual(span(6 * MINUTE), 2 * MINUTE);
});

Deno.test("jitterFor: differs between nodes, is constant over restarts, and is evenly distributed", () => {
  strictEqual(
    jitterFor("node-a", "kubelet"),
    0.9049993616063148,
    "also over versions of the agent",
  );
  const buckets = new Array(10).fill(0);
  for (let i = 0; i < 10_000; i++) buckets[Math.floor(jitterFor(`node-${i}`, "kubelet") * 10)]++;
  for (const count of buckets) ok(count > 850 && count < 1150, `uneven: ${buckets}`);
});

Deno.test("dueAtMs: is early by the jitter, at most to half of the lifetime", () => {
  const day = { expiresAtMs: T0 + 12 * HOUR };
  const hour = { ...AUTO, leadTimeMs: HOUR };
  const table: readonly (readonly [Partial<Lifetime>, RenewalSettings, hours: number])[] = [
    [{ ...day }, AUTO, 8],
    [{ ...day, jitter: 0.5 }, AUTO, 7],
    [{ ...day, jitter: 1 }, AUTO, 6],
    [{ ...day }, hour, 10.8], // not in the mandatory window
    [{ ...day, jitter: 0.5 }, hour, 8.4],
    [{ ...day, jitter: 1 }, { ...AUTO, leadTimeMs: 24 * HOUR }, 6],
    [{ ...day, refreshAtMs: T0 + 10 * HOUR, jitter: 0.5 }, AUTO, 7],
    [{ ...day, refreshAtMs: T0 + 6 * HOUR, jitter: 0.5 }, AUTO, 4.5],
    [{ refreshAtMs: T0 + 10 * HOUR }, AUTO, 9],
    [{ refreshAtMs: T0 + 10 * HOUR, jitter: 0.5 }, AUTO, 7],
    [{ jitter: 1 }, { ...AUTO, refreshIntervalMs: HOUR }, 0.55],
  ];
  for (const [change, settings, hours] of table) {
    const due = ((dueAtMs(lifetime(change), settings) ?? 0) - T0) / HOUR;
    ok(Math.abs(due - hours) < 0.001, `${JSON.stringify(change)}: ${due}, not ${hours}`);
  }
});

Deno.test("nextAttemptAtMs: spaces retries by the window of the last attempt", () => {
  const expiry = T0 + 2 * HOUR; // advisory from 80 min on, mandatory from 108 min on
  const table: readonly (readonly [
    lastMs: number,
    unproductive: number,
    jitter: number,
    retryAfterMs: number,
    wantedMs: number,
  ])[] = [
    [T0 + 80 * MINUTE, 1, 1, 0, SECOND],
    [T0 + 80 * MINUTE, 1, 0, 0, SECOND / 2],
    [T0 + 80 * MINUTE, 3, 1, 0, 4 * SECOND],
    [T0 + 80 * MINUTE, 30, 1, 0, 10 * MINUTE], // a quarter of the remaining lifetime
    [T0 + 80 * MINUTE, 30, 0.1, 0, 90 * SECOND], // a tenth of the longest backoff
    [T0 + 80 * MINUTE, 1, 1, 20 * MINUTE, 20 * MINUTE],
    [T0 + 80 * MINUTE, 1, 1, 40 * MINUTE, 28 * MINUTE], // until the mandatory window
    [expiry - 12 * MINUTE, 30, 1, 0, 10 * SECOND],
    [expiry - 12 * MINUTE, 1, 1, HOUR, SECOND], // Retry-After does not count any more
    [expiry - 20 * SECOND, 30, 1, 0, 5 * SECOND],
    [expiry - 100, 30, 1, 0, 250],
    [expiry, 30, 1, 0, 30 * SECOND],
    [expiry, 1, 1, 0, SECOND],
    [expiry, 1, 0, 0, SECOND / 2],
    [expiry, 1, 1, 20 * SECOND, 20 * SECOND], // Retry-After after the expiry
    [expiry, 1, 1, HOUR, 30 * SECOND],
  ];
  for (const [lastAtMs, unproductive, jitter, retryAfterMs, wanted] of table) {
    const attempts = { lastAtMs, unproductive, jitter, retryAtMs: lastAtMs + retryAfterMs };
    const l = lifetime({ expiresAtMs: expiry });
    const next = nextAttemptAtMs(l, attempts, lastAtMs, AUTO) ?? 0;
    strictEqual(
      Math.round(next - lastAtMs),
      wanted,
      `${(lastAtMs - T0) / MINUTE} min, ${unproductive} attempts, jitter ${jitter}`,
    );
  }
});

Deno.test("nextAttemptAtMs: spaces attempts without any credential", () => {
  const settings = { ...AUTO, refreshIntervalMs: 3 * MINUTE };
  const table: readonly (readonly [Partial<Attempts>, wantedMs: number])[] = [
    [{ unproductive: 1, jitter: 1 }, 2 * SECOND],
    [{ unproductive: 1, jitter: 0 }, SECOND / 2],
    [{ unproductive: 60, jitter: 1 }, 20 * SECOND],
    [{ unproductive: 61, jitter: 1 }, 40 * SECOND],
    [{ unproductive: 80, jitter: 1 }, 3 * MINUTE], // the refresh interval
    [{ unproductive: 1, jitter: 1, notFound: true }, 5 * SECOND],
    [{ unproductive: 2, jitter: 1, notFound: true }, 10 * SECOND],
    [{ unproductive: 1, jitter: 0, notFound: true }, 2.5 * SECOND],
    [{ unproductive: 1, jitter: 1, retryAtMs: T0 + MINUTE }, MINUTE],
    [{ unproductive: 1, jitter: 1, retryAtMs: T0 + HOUR }, 5 * MINUTE],
  ];
  for (const [change, wanted] of table) {
    const attempts: Attempts = { ...NONE, lastAtMs: T0, ...change };
    const next = nextAttemptAtMs(undefined, attempts, T0, settings) ?? 0;
    strictEqual(next - T0, wanted, JSON.stringify(change));
  }
  strictEqual(nextAttemptAtMs(undefined, NONE, T0, settings), T0);
});
