import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type Candidate,
  parseImageReference,
  type ProviderAttempt,
  type ProviderOutcome,
  Secret,
} from "../../../lib/model/mod.ts";
import {
  causeFor,
  failureOf,
  isAffected,
  isPerServiceAccount,
  isWithdrawn,
  requestFor,
} from "../../../lib/reconciler/renewals.ts";
import { CredentialStore, type StoreEntry } from "../../../lib/credentials/mod.ts";
import { FakeRandom } from "../../fakes/random.ts";

const IMAGE = parseImageReference("registry.example.com/app:v1");
const NOW_MS = 1_800_000_000_000;
const MINUTE_MS = 60_000;

function candidate(change: Partial<Candidate> = {}): Candidate {
  return {
    credential: { kind: "basic", username: "u", password: new Secret("p") },
    origin: "plugin p",
    fetchedAtMs: NOW_MS,
    watched: false,
    ...change,
  };
}

function stage(stored?: Candidate, provider: "kubelet" | "adopted" = "kubelet") {
  const store = new CredentialStore({
    settings: { leadTimeMs: "auto", refreshIntervalMs: 4 * MINUTE_MS },
    seed: "node",
    random: new FakeRandom(),
  });
  store.ensure(IMAGE);
  if (stored !== undefined && provider === "adopted") store.adopt(IMAGE, stored);
  else if (stored !== undefined) {
    store.put(IMAGE, { provider: "kubelet", candidate: stored }, NOW_MS);
  }
  const entry = store.get(IMAGE.text);
  ok(entry);
  return { store, entry };
}

Deno.test("requestFor: the cause determines newerThanMs and urgency", () => {
  const end = { expiresAtMs: NOW_MS + 60 * MINUTE_MS };
  const first = stage();
  deepStrictEqual(requestFor(first.entry, {}, first.store, NOW_MS), {
    image: IMAGE,
    labels: {},
    waiting: true,
  });
  const adopted = stage(candidate(), "adopted");
  strictEqual(requestFor(adopted.entry, {}, adopted.store, NOW_MS).waiting, true);
  strictEqual(requestFor(adopted.entry, {}, adopted.store, NOW_MS).newerThanMs, undefined);

  const { store, entry } = stage(candidate(end));
  const request = (cause: Parameters<typeof requestFor>[1], atMs = NOW_MS) => {
    const { newerThanMs, urgent } = requestFor(entry, cause, store, atMs);
    return [newerThanMs, urgent];
  };
  const lateMs = NOW_MS + 58 * MINUTE_MS;
  deepStrictEqual(request({}), [NOW_MS, undefined], "when due, a newer credential is required");
  deepStrictEqual(
    request({ recheck: true }),
    [undefined, undefined],
    "after a change, any credential counts",
  );
  deepStrictEqual(request({ recheck: true }, lateMs), [NOW_MS, true], "unless it is also due");
  deepStrictEqual(request({}, lateMs), [NOW_MS, true], "shortly before the expiry");
  deepStrictEqual(request({ refused: { fingerprint: "f" } }), [NOW_MS, true]);
  deepStrictEqual(request({ forced: { atMs: 7, wallMs: NOW_MS + 9 } }), [NOW_MS + 8, undefined]);
});

Deno.test("causeFor: drops the refusal of a credential that was replaced", () => {
  const { entry } = stage(candidate());
  const current = { fingerprint: entry.stored?.fingerprint ?? "" };
  const replaced = { fingerprint: "another" };
  deepStrictEqual(causeFor({ refused: current }, entry), { refused: current });
  strictEqual(causeFor({ refused: replaced }, entry), undefined);
  deepStrictEqual(causeFor({ refused: replaced, recheck: true }, entry), { recheck: true });
  deepStrictEqual(causeFor({}, entry), {});
});

Deno.test("isAffected: an image without tag and digest is affected by its repository", () => {
  const of = (text: string) => parseImageReference(text);
  strictEqual(isAffected(IMAGE, of("registry.example.com/app:v1")), true);
  strictEqual(isAffected(IMAGE, of("registry.example.com/app:v2")), false);
  const { tag: _, ...repository } = IMAGE;
  const bare = { ...repository, text: "registry.example.com/app" };
  strictEqual(isAffected(bare, of("registry.example.com/app:v2")), true);
  strictEqual(isAffected(bare, of("registry.example.com/other:v2")), false);
  strictEqual(isAffected(bare, of("other.example.com/app:v2")), false);
});

const NONE: ProviderOutcome = { kind: "none", reason: "no-entry-for-registry", notes: [] };
const BROKEN: ProviderOutcome = {
  kind: "failed",
  reason: "plugin-failed",
  detail: "exit 1",
  notes: [],
  retryAtMs: 9,
};

function attempt(outcome: ProviderOutcome, provider: ProviderAttempt["provider"] = "kubelet") {
  return { provider, outcome, durationMs: 1 };
}

Deno.test("failureOf: returns the failure of the first provider that failed, else of the last", () => {
  deepStrictEqual(failureOf([attempt(NONE, "docker"), attempt(BROKEN), attempt(NONE)]), {
    provider: "kubelet",
    reason: "plugin-failed",
    detail: "exit 1",
    retryAtMs: 9,
  });
  const { notFound, reason } = failureOf([attempt(NONE, "docker")]);
  deepStrictEqual([notFound, reason], [true, "no-entry-for-registry"]);
  strictEqual(failureOf([]).reason, "not-enabled");
});

Deno.test("isWithdrawn: only a provider that knows its valid accounts withdraws", () => {
  const perAccount = stage(candidate({ account: "ns/a", plugin: "p" })).entry;
  const shared = stage(candidate()).entry;
  const gone: ProviderOutcome = { ...NONE, validAccounts: ["p ns/b"] };
  const table: readonly (readonly [StoreEntry, ProviderOutcome, boolean])[] = [
    [perAccount, gone, true],
    [perAccount, { ...NONE, validAccounts: ["p ns/a"] }, false],
    [perAccount, { ...NONE, validAccounts: "unknown" }, false],
    [perAccount, { ...BROKEN, validAccounts: [] }, true],
    [perAccount, NONE, false],
    [shared, gone, false],
  ];
  for (const [entry, outcome, wanted] of table) {
    strictEqual(isWithdrawn(entry, [attempt(outcome)]), wanted);
  }
  strictEqual(isWithdrawn(perAccount, [attempt(gone, "docker")]), false, "another provider");
  deepStrictEqual([gone, NONE, BROKEN].map((outcome) => isPerServiceAccount([attempt(outcome)])), [
    true,
    false,
    false,
  ]);
});
