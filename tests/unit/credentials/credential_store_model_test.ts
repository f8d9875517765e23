import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  type Candidate,
  credentialFingerprint,
  type ImageReference,
  parseImageReference,
  Secret,
} from "../../../lib/model/mod.ts";
import { CredentialStore, type StoreEntry } from "../../../lib/credentials/mod.ts";
import { FakeRandom } from "../../fakes/random.ts";

const T0 = Date.UTC(2026, 0, 1);
const SETTINGS = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;
const IMAGES = [0, 1, 2].map((n) => parseImageReference(`registry.example.com/app:${n}`));

type Step =
  & { readonly image: number; readonly password: number; readonly passMs: number }
  & (
    | { readonly kind: "put"; readonly lifetimeMs: number | undefined }
    | { readonly kind: "adopt" | "fail" | "withdraw" | "evict" | "reconfigure" }
  );

const common = {
  image: fc.integer({ min: 0, max: 2 }),
  password: fc.integer({ min: 0, max: 3 }),
  passMs: fc.integer({ min: 0, max: 600_000 }),
};
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    ...common,
    kind: fc.constant("put" as const),
    lifetimeMs: fc.option(fc.integer({ min: 1, max: 7_200_000 }), { nil: undefined }),
  }),
  fc.record({
    ...common,
    kind: fc.constantFrom(
      "adopt" as const,
      "fail" as const,
      "withdraw" as const,
      "evict" as const,
      "reconfigure" as const,
    ),
  }),
);

function candidate(password: number, nowMs: number, lifetimeMs?: number): Candidate {
  return {
    credential: { kind: "basic", username: "u", password: new Secret(`p${password}`) },
    origin: "a test",
    fetchedAtMs: nowMs,
    watched: false,
    ...(lifetimeMs !== undefined && { expiresAtMs: nowMs + lifetimeMs }),
  };
}

/** The expected state of an entry: the stored and the withdrawn password. */
interface Known {
  readonly password?: number;
  readonly adopted?: boolean;
  readonly withdrawn?: number;
}

class Model {
  readonly known = new Map<string, Known>();

  readonly goneSinceMs = new Map<string, number>();

  apply(image: ImageReference, { kind, password }: Step, nowMs: number): void {
    const before = this.known.get(image.text);
    switch (kind) {
      case "put":
        this.known.set(image.text, { ...before, password, adopted: false });
        return;
      case "adopt": {
        const kept = before ?? {};
        const isOurs = kept.password !== undefined && kept.adopted !== true;
        const adopts = !isOurs && kept.withdrawn !== password;
        this.known.set(image.text, adopts ? { ...kept, password, adopted: true } : kept);
        return;
      }
      case "withdraw":
        if (before?.password !== undefined) {
          this.known.set(image.text, { withdrawn: before.password });
        }
        return;
      case "evict": {
        const sinceMs = this.goneSinceMs.get(image.text) ?? nowMs;
        if (before === undefined) return;
        this.goneSinceMs.set(image.text, sinceMs);
        if (nowMs - sinceMs < 60_000) return;
        this.known.delete(image.text);
        this.goneSinceMs.delete(image.text);
        return;
      }
      case "fail":
      case "reconfigure":
        return;
    }
  }
}

function applyToStore(store: CredentialStore, image: ImageReference, step: Step, nowMs: number) {
  const { kind, password } = step;
  const lifetimeMs = kind === "put" ? step.lifetimeMs : undefined;
  const given = candidate(password, nowMs, lifetimeMs);
  switch (kind) {
    case "put":
      store.put(image, { provider: "kubelet", candidate: given }, nowMs);
      return;
    case "adopt":
      store.adopt(image, given);
      return;
    case "fail":
      store.recordFailure(image, { reason: "plugin-failed", detail: "it failed" }, nowMs);
      for (const entry of store.entries()) {
        if (entry.image.text !== image.text) continue;
        ok((store.nextAttemptAtMs(entry, nowMs) ?? Infinity) > nowMs, "the next attempt is later");
      }
      return;
    case "withdraw":
      store.withdraw(image);
      return;
    case "evict": {
      const others = new Set(IMAGES.filter((one) => one !== image).map(({ text }) => text));
      store.evict(others, nowMs, 60_000);
      return;
    }
    case "reconfigure":
      store.settings = { ...SETTINGS };
      return;
  }
}

Deno.test("CredentialStore: matches a simple model in any sequence of calls", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const store = new CredentialStore({
        settings: SETTINGS,
        seed: "node",
        random: new FakeRandom(),
      });
      const model = new Model();
      let nowMs = T0;
      for (const one of steps) {
        nowMs += one.passMs;
        const image = IMAGES[one.image];
        ok(image);
        applyToStore(store, image, one, nowMs);
        model.apply(image, one, nowMs);
        check(store, model, nowMs);
      }
    }),
    { numRuns: 300 },
  );
});

function check(store: CredentialStore, model: Model, nowMs: number): void {
  deepStrictEqual(
    [...store.entries()].map(({ image }) => image.text).sort(),
    [
      ...model.known.keys(),
    ].sort(),
  );
  for (const [text, { password, adopted }] of model.known) {
    const entry = store.get(text);
    ok(entry);
    strictEqual(entry.stored !== undefined, password !== undefined, text);
    if (entry.stored === undefined || password === undefined) continue;
    const { provider, fingerprint } = entry.stored;
    strictEqual(provider === "adopted", adopted === true);
    strictEqual(fingerprint, credentialFingerprint(candidate(password, nowMs).credential));
  }
  const due = store.due(nowMs);
  const ends = due.map(({ stored }) => stored?.candidate.expiresAtMs ?? 0);
  deepStrictEqual(ends, ends.toSorted((a, b) => a - b), "earliest expiry first");
  const timeOf = (entry: StoreEntry) => store.nextAttemptAtMs(entry, nowMs) ?? Infinity;
  for (const entry of due) ok(timeOf(entry) <= nowMs);
  strictEqual(store.nextDueAtMs(nowMs), Math.min(...[...store.entries()].map(timeOf)));
}
