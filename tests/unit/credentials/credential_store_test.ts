import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type Candidate, parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { CredentialStore } from "../../../lib/credentials/mod.ts";
import { FakeRandom } from "../../fakes/random.ts";

const MINUTE = 60_000;
const T0 = Date.UTC(2026, 0, 1);
const IMAGE = parseImageReference("registry.example.com/team/app:v1");

function newStore() {
  return new CredentialStore({
    settings: { leadTimeMs: "auto", refreshIntervalMs: 4 * MINUTE },
    seed: "node",
    random: new FakeRandom(),
  });
}

function candidate(password: string, change: Partial<Candidate> = {}): Candidate {
  return {
    credential: { kind: "basic", username: "u", password: new Secret(password) },
    origin: "plugin p",
    fetchedAtMs: T0,
    watched: false,
    ...change,
  };
}

const put = (store: CredentialStore, c: Candidate, nowMs: number) =>
  store.put(IMAGE, { provider: "kubelet", candidate: c }, nowMs);

function nextOf(store: CredentialStore, nowMs: number): number | undefined {
  const entry = store.get(IMAGE.text);
  return entry && store.nextAttemptAtMs(entry, nowMs);
}

Deno.test("CredentialStore: put returns new, renewed or same", () => {
  const store = newStore();
  strictEqual(put(store, candidate("a"), T0), "new");
  strictEqual(put(store, candidate("a"), T0 + 1), "same");
  strictEqual(put(store, candidate("a", { fetchedAtMs: T0 + 5 }), T0 + 5), "renewed");
  strictEqual(put(store, candidate("b", { fetchedAtMs: T0 + 9 }), T0 + 9), "new");
  deepStrictEqual(store.get(IMAGE.text)?.renewals, { success: 3, failure: 0 });
});

Deno.test("CredentialStore: the same credential keeps the time at which it was first seen", () => {
  const store = newStore();
  const seen = (password: string, atMs: number) => {
    put(store, candidate(password, { fetchedAtMs: atMs }), atMs);
    const { firstSeenAtMs, fetchedAtMs } = store.get(IMAGE.text)?.stored?.lifetime ?? {};
    return [firstSeenAtMs, fetchedAtMs];
  };
  deepStrictEqual(seen("a", T0), [T0, T0]);
  deepStrictEqual(seen("a", T0 + 5), [T0, T0 + 5]);
  deepStrictEqual(seen("b", T0 + 9), [T0 + 9, T0 + 9]);
});

Deno.test("CredentialStore: keeps the last good credential after failures and after its expiry", () => {
  const store = newStore();
  put(store, candidate("a", { expiresAtMs: T0 + 10 * MINUTE }), T0);
  const late = T0 + 60 * MINUTE;
  store.recordFailure(IMAGE, { reason: "plugin-failed", detail: "exit code 1" }, late);
  const entry = store.get(IMAGE.text);
  ok(entry?.stored);
  strictEqual(store.window(entry, late), "expired");
  strictEqual(entry.stored.candidate.credential.kind, "basic");
  deepStrictEqual(entry.renewals, { success: 1, failure: 1 });
  strictEqual(entry.attempts.unproductive, 1);
  deepStrictEqual(entry.lastFailure, {
    reason: "plugin-failed",
    detail: "exit code 1",
    atMs: late,
  });
  ok((store.nextAttemptAtMs(entry, late) ?? 0) > late, "the next attempt is later");
});

Deno.test("CredentialStore: counts the expired credential as a failure when its source returns it again", () => {
  const store = newStore();
  const expiresAtMs = T0 + 10 * MINUTE;
  put(store, candidate("a", { expiresAtMs }), T0);
  const late = T0 + 11 * MINUTE;
  put(store, candidate("a", { expiresAtMs, fetchedAtMs: late }), late);
  deepStrictEqual(store.get(IMAGE.text)?.renewals, { success: 1, failure: 1 });
});

Deno.test("CredentialStore: backs off when a source repeats a credential that is due", () => {
  const store = newStore();
  const expiresAtMs = T0 + 60 * MINUTE;
  let now = T0;
  let executions = 0;
  while (now < expiresAtMs && executions < 1_000) {
    put(store, candidate("a", { expiresAtMs, fetchedAtMs: now }), now);
    executions++;
    now = Math.max(now + 1, nextOf(store, now) ?? Infinity);
  }
  ok(executions < 100, `${executions} executions in one hour`);
});

Deno.test("CredentialStore: a repeated credential is unproductive from the moment it is due", () => {
  const repeatedAt = (lateMs: number) => {
    const store = newStore();
    const repeated = candidate("a", { refreshAtMs: T0 + 10 * MINUTE });
    put(store, repeated, T0);
    put(store, repeated, (nextOf(store, T0) ?? Infinity) + lateMs);
    return store.get(IMAGE.text)?.attempts.unproductive;
  };
  deepStrictEqual([repeatedAt(-1), repeatedAt(0)], [0, 1]);
});

Deno.test("CredentialStore: adopt does not replace the credential of a provider", () => {
  const store = newStore();
  ok(store.adopt(IMAGE, candidate("adopted")));
  strictEqual(store.get(IMAGE.text)?.stored?.provider, "adopted");
  ok(!store.adopt(IMAGE, candidate("adopted")), "the same credential is not new");
  put(store, candidate("fresh"), T0 + 1);
  ok(!store.adopt(IMAGE, candidate("adopted")));
  strictEqual(store.get(IMAGE.text)?.stored?.provider, "kubelet");
});

Deno.test("CredentialStore: adopt does not change the schedule", () => {
  const store = newStore();
  store.ensure(IMAGE);
  store.recordFailure(IMAGE, { reason: "plugin-failed", detail: "down" }, T0);
  const before = nextOf(store, T0);
  ok(before !== undefined && before <= T0 + 4 * MINUTE);
  const expiresAtMs = T0 + 60 * MINUTE;
  ok(store.adopt(IMAGE, candidate("adopted", { watched: true, expiresAtMs })));
  strictEqual(nextOf(store, T0), before);
});

Deno.test("CredentialStore: evicts entries without a mount after the minimum age", () => {
  const store = newStore();
  put(store, candidate("a"), T0);
  deepStrictEqual(store.evict(new Set(), T0 + MINUTE, 2 * MINUTE), []);
  store.ensure(IMAGE); // it has a mount again
  deepStrictEqual(store.evict(new Set(), T0 + 9 * MINUTE, 2 * MINUTE), []);
  put(store, candidate("b"), T0 + 10 * MINUTE);
  deepStrictEqual(store.evict(new Set([IMAGE.text]), T0 + 11 * MINUTE, 2 * MINUTE), []);
  deepStrictEqual(store.evict(new Set(), T0 + 11 * MINUTE, 2 * MINUTE), [IMAGE]);
  strictEqual([...store.entries()].length, 0);
});

Deno.test("CredentialStore: evicts no mounted entry early when the wall clock was set back", () => {
  const store = newStore();
  store.ensure(IMAGE);
  const none = new Set<string>();
  deepStrictEqual(store.evict(none, T0, MINUTE), []);
  deepStrictEqual(store.evict(none, T0 - 60 * MINUTE, MINUTE), [], "the clock was set back");
  deepStrictEqual(store.evict(none, T0 - 59 * MINUTE, MINUTE).length, 1);
  put(store, candidate("a"), T0);
  deepStrictEqual(store.evict(none, T0, MINUTE), [], "a pull before the mount exists");
});

Deno.test("CredentialStore: nextDueAtMs leaves out renewals in flight", () => {
  const store = newStore();
  strictEqual(store.nextDueAtMs(T0), Infinity);
  store.ensure(IMAGE);
  const other = parseImageReference("registry.example.com/team/other:v1");
  const withExpiry = candidate("a", { expiresAtMs: T0 + 90 * MINUTE });
  store.put(other, { provider: "kubelet", candidate: withExpiry }, T0);
  strictEqual(store.nextDueAtMs(T0), T0, "never requested");
  ok(store.nextDueAtMs(T0, new Set([IMAGE.text])) > T0 + 40 * MINUTE);
  strictEqual(store.nextDueAtMs(T0, new Set([IMAGE.text, other.text])), Infinity);
});

Deno.test("CredentialStore: due is sorted by expiry, and includes everything after the clock was set back", () => {
  const store = newStore();
  const other = parseImageReference("registry.example.com/other:v1");
  put(store, candidate("a", { expiresAtMs: T0 + 90 * MINUTE }), T0);
  store.put(other, {
    provider: "kubelet",
    candidate: candidate("b", { expiresAtMs: T0 + 30 * MINUTE }),
  }, T0);
  deepStrictEqual(store.due(T0), []);
  const order = store.due(T0 + 80 * MINUTE).map(({ image }) => image.text);
  deepStrictEqual(order, [other.text, IMAGE.text]);
  strictEqual(store.due(T0 - MINUTE).length, 2);
});

Deno.test("CredentialStore: applies a new interval and keeps credentials", () => {
  const store = newStore();
  put(store, candidate("a"), T0);
  store.settings = { leadTimeMs: "auto", refreshIntervalMs: 10 * MINUTE };
  ok((nextOf(store, T0) ?? 0) > T0 + 5 * MINUTE);
  ok(store.get(IMAGE.text)?.stored);
});

Deno.test("CredentialStore: status contains no secret", () => {
  const store = newStore();
  put(store, candidate("hunter2"), T0);
  const entry = store.get(IMAGE.text);
  ok(entry);
  ok(!JSON.stringify(store.status(entry, T0)).includes("hunter2"));
  ok(!Deno.inspect(entry, { depth: 10 }).includes("hunter2"));
});

Deno.test("CredentialStore: does not adopt a withdrawn credential again", () => {
  const store = newStore();
  put(store, candidate("a", { account: "n/a (1)" }), T0);
  store.withdraw(IMAGE);
  strictEqual(store.get(IMAGE.text)?.stored, undefined);
  store.recordFailure(IMAGE, { reason: "no-service-account", detail: "gone" }, T0 + 1);
  strictEqual(store.adopt(IMAGE, candidate("a")), false);
  strictEqual(store.get(IMAGE.text)?.stored, undefined);
  strictEqual(store.adopt(IMAGE, candidate("another")), true);
  strictEqual(put(store, candidate("a"), T0 + 4), "new"); // its source may return it again
});

Deno.test("CredentialStore: has one entry per registry that an image is read from", () => {
  const store = newStore();
  const mirrored = { ...IMAGE, endpoint: parseImageReference("mirror.example.com/team/app:v1") };
  put(store, candidate("own"), T0);
  store.put(mirrored, {
    provider: "docker",
    candidate: candidate("mirror", { forEndpoint: true }),
  }, T0);
  strictEqual([...store.entries()].length, 2);
  store.recordFailure(mirrored, { reason: "plugin-failed", detail: "x" }, T0 + 1);
  store.withdraw(mirrored);
  const own = store.get(IMAGE.text);
  strictEqual(own?.attempts.unproductive, 0);
  ok(own.stored);
  const mirror = [...store.entries()].find(({ image }) => image.endpoint !== undefined);
  strictEqual(mirror?.stored, undefined);
  deepStrictEqual(mirror && store.status(mirror, T0).endpoint, mirrored.endpoint.text);
  strictEqual(store.status(own, T0).endpoint, undefined);
  deepStrictEqual(store.evict(new Set([IMAGE.text]), T0 + 59 * MINUTE, MINUTE), []);
  deepStrictEqual(store.evict(new Set([IMAGE.text]), T0 + 60 * MINUTE, MINUTE), [mirrored]);
  ok(store.get(IMAGE.text)?.stored);
});
