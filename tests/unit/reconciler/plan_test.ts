import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type Candidate,
  type Credential,
  type Daemon,
  encodeRegistryAuth,
  parseImageReference,
  type RafsInstance,
  Secret,
} from "../../../lib/model/mod.ts";
import type { InstanceRecord } from "../../../lib/reconciler/mounts.ts";
import { type PlanInput, planInstance } from "../../../lib/reconciler/plan.ts";
import { CredentialStore, type StoreEntry } from "../../../lib/credentials/mod.ts";
import { FakeRandom } from "../../fakes/random.ts";

const IMAGE = parseImageReference("registry.example.com/app:v1");
const NOW_MS = 1_800_000_000_000;
const HOUR_MS = 3_600_000;

function basic(password: string, username = "u"): Credential {
  return { kind: "basic", username, password: new Secret(password) };
}

function currentAuth(credential: Credential): Secret {
  ok(credential.kind === "basic");
  return encodeRegistryAuth(credential);
}

/** A token that names its expiry. */
function token(expiresAtMs: number, username = "u"): Credential {
  const part = (value: unknown) => btoa(JSON.stringify(value)).replace(/=+$/, "");
  return basic(`${part({ alg: "x" })}.${part({ exp: expiresAtMs / 1000 })}.s`, username);
}

function candidate(credential: Credential, change: Partial<Candidate> = {}): Candidate {
  return { credential, origin: "plugin p", fetchedAtMs: NOW_MS, watched: false, ...change };
}

/** A store entry; `nothing` for an image of which no provider has a credential. */
function entry(
  stored: Candidate | "nothing" | "requested" | "per-account",
  provider: "kubelet" | "adopted" = "kubelet",
): StoreEntry {
  const settings = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;
  const store = new CredentialStore({ settings, seed: "node", random: new FakeRandom() });
  store.ensure(IMAGE);
  if (stored === "nothing" || stored === "per-account") {
    const perServiceAccount = stored === "per-account";
    store.recordFailure(
      IMAGE,
      { reason: "plugin-not-matched", detail: "", perServiceAccount },
      NOW_MS,
    );
  } else if (stored !== "requested" && provider === "adopted") store.adopt(IMAGE, stored);
  else if (stored !== "requested") {
    store.put(IMAGE, { provider: "kubelet", candidate: stored }, NOW_MS);
  }
  const found = store.get(IMAGE.text);
  ok(found);
  return found;
}

interface Case {
  readonly entry?: StoreEntry;
  readonly record?: Partial<InstanceRecord>;
  readonly daemon?: Partial<Daemon>;
  readonly instance?: Partial<RafsInstance>;
  readonly remembered?: Candidate;
  readonly unapprovedHostPolicy?: "warn" | "refuse";
}

function plan(given: Case) {
  const instance: RafsInstance = {
    snapshotId: "1",
    mountId: "/",
    image: IMAGE,
    configPath: "/config.json",
    ...given.instance,
  };
  const input: PlanInput = {
    daemon: {
      id: "d1",
      apiSocket: "/d1.sock",
      source: "system-api",
      state: "running",
      configApi: "supported",
      instances: [instance],
      ...given.daemon,
    },
    instance,
    record: { state: "pending", failures: 0, ...given.record },
    entry: given.entry,
    remembered: given.remembered,
    unapprovedHostPolicy: given.unapprovedHostPolicy ?? "warn",
    nowMs: NOW_MS,
  };
  return planInstance(input);
}

/** The plan on one line: the action and its credential or state. */
function summary(given: Case): string {
  const step = plan(given);
  switch (step.kind) {
    case "no-op":
      return step.state;
    case "deliver":
      return `deliver ${passwordOf(step.credential)}`;
    case "adopt":
      return `adopt ${passwordOf(step.candidate.credential)}`;
  }
}

function passwordOf(credential: Credential): string {
  ok(credential.kind === "basic");
  return credential.password.reveal();
}

const OURS = candidate(basic("ours"));
const THEIRS = currentAuth(basic("theirs"));
const EMPTY = new Secret("");
const fingerprint = entry(OURS).stored?.fingerprint ?? "";
const DOWN: Case = { daemon: { state: "unresponsive" } };
const NO_API: Case = { daemon: { configApi: "unsupported" } };

const CASES: readonly (readonly [name: string, given: Case, wanted: string])[] = [
  ["the image is unknown", { instance: { image: undefined as never } }, "none"],
  ["no request has been made", { entry: entry("requested") }, "pending"],

  // A provider has a credential.
  ["nydusd has no key", { entry: entry(OURS) }, "deliver ours"],
  [
    "nydusd has an empty value",
    { entry: entry(OURS), record: { currentAuth: EMPTY } },
    "deliver ours",
  ],
  [
    "nydusd has another one",
    { entry: entry(OURS), record: { currentAuth: THEIRS } },
    "deliver ours",
  ],
  [
    "nydusd has it and the file does not",
    { entry: entry(OURS), record: { currentAuth: currentAuth(basic("ours")) } },
    "deliver ours",
  ],
  [
    "nydusd and the file have it",
    {
      entry: entry(OURS),
      record: { currentAuth: currentAuth(basic("ours")), fileFingerprint: fingerprint },
    },
    "stored",
  ],
  [
    "only the file has it",
    { entry: entry(OURS), record: { fileFingerprint: fingerprint } },
    "deliver ours",
  ],
  ["nydusd is down and the file is behind", { ...DOWN, entry: entry(OURS) }, "deliver ours"],
  [
    "nydusd is down and the file has it",
    { ...DOWN, entry: entry(OURS), record: { fileFingerprint: fingerprint } },
    "unreachable",
  ],
  [
    "nydusd is down and has no file",
    { ...DOWN, entry: entry(OURS), instance: { configPath: undefined as never } },
    "unreachable",
  ],
  [
    "nydusd has no API and the file has it",
    {
      ...NO_API,
      entry: entry(OURS),
      record: { state: "file-only", fileFingerprint: fingerprint },
    },
    "file-only",
  ],
  [
    "nydusd has no API, and only the file was written",
    { ...NO_API, entry: entry(OURS), record: { fileFingerprint: fingerprint } },
    "deliver ours",
  ],
  [
    "nydusd has an API again",
    { entry: entry(OURS), record: { state: "file-only", fileFingerprint: fingerprint } },
    "deliver ours",
  ],

  // No provider has a credential.
  ["neither a provider nor nydusd has one", { entry: entry("nothing") }, "none"],
  [
    "nydusd alone has one",
    { entry: entry("nothing"), record: { currentAuth: THEIRS } },
    "adopt theirs",
  ],
  [
    "a pull is remembered and nydusd has no key",
    { entry: entry("nothing"), remembered: OURS },
    "adopt ours",
  ],
  [
    "a pull is remembered and nydusd has an empty value",
    { entry: entry("nothing"), remembered: OURS, record: { currentAuth: EMPTY } },
    "adopt ours",
  ],
  [
    "a pull is remembered and nydusd has another one",
    { entry: entry("nothing"), remembered: OURS, record: { currentAuth: THEIRS } },
    "adopt theirs",
  ],
  [
    "a pull with a registry token is remembered",
    {
      entry: entry("nothing"),
      remembered: candidate({ kind: "registry-token", token: new Secret("t") }),
    },
    "none",
  ],
  [
    "a pull is remembered and nydusd is down",
    { ...DOWN, entry: entry("nothing"), remembered: OURS },
    "unreachable",
  ],
  [
    "a pull is remembered and nydusd has no API",
    { ...NO_API, entry: entry("nothing"), remembered: OURS },
    "none",
  ],
  [
    "a pull is remembered and nydusd does not list the mount",
    { entry: entry("nothing"), remembered: OURS, instance: { mountId: undefined as never } },
    "none",
  ],
  [
    "a pull is remembered and a provider is per service account",
    { entry: entry("per-account"), remembered: OURS },
    "none",
  ],
  [
    "nydusd has one and a provider is per service account",
    { entry: entry("per-account"), record: { currentAuth: THEIRS } },
    "adopted",
  ],

  // A credential was adopted.
  ["adopted: nydusd has no key", { entry: entry(OURS, "adopted") }, "deliver ours"],
  [
    "adopted: nydusd has no key again after a delivery",
    { entry: entry(OURS, "adopted"), record: { deliveredAtMs: 1 } },
    "deliver ours",
  ],
  [
    "adopted: nydusd has an empty value",
    { entry: entry(OURS, "adopted"), record: { currentAuth: EMPTY } },
    "deliver ours",
  ],
  [
    "adopted: nydusd has another one",
    { entry: entry(OURS, "adopted"), record: { currentAuth: THEIRS } },
    "adopted",
  ],
  ["adopted: nydusd is down", { ...DOWN, entry: entry(OURS, "adopted") }, "unreachable"],
  ["adopted: nydusd has no API", { ...NO_API, entry: entry(OURS, "adopted") }, "adopted"],
];

Deno.test("planInstance: decides by what nydusd, the file and the store have", () => {
  for (const [name, given, wanted] of CASES) strictEqual(summary(given), wanted, name);
});

Deno.test("planInstance: keeps the detail of a mount that has its credential in the file only", () => {
  const record = { state: "file-only", fileFingerprint: fingerprint, detail: "no API" } as const;
  const step = plan({ ...NO_API, entry: entry(OURS), record });
  strictEqual(step.kind === "no-op" && step.detail, "no API");
});

Deno.test("planInstance: keeps state and detail of a mount whose file has a registry token", () => {
  const stored = entry(candidate({ kind: "registry-token", token: new Secret("t") }));
  const fileFingerprint = stored.stored?.fingerprint ?? "";
  const record = { state: "file-only", fileFingerprint, detail: "after a remount" } as const;
  const step = plan({ entry: stored, record });
  deepStrictEqual(step, { kind: "no-op", state: "file-only", detail: "after a remount" });
  strictEqual(plan({ entry: stored, record: {} }).kind, "deliver");
});

Deno.test("planInstance: explains a state without a delivery", () => {
  const explained = CASES.flatMap(([, given]) => {
    const step = plan(given);
    return step.kind === "no-op" && step.detail !== undefined
      ? [`${step.state}: ${step.detail}`]
      : [];
  });
  deepStrictEqual([...new Set(explained)].sort(), [
    "adopted: no provider has a credential; the one in nydusd is kept",
    "adopted: no service account has a credential; the one in nydusd is kept",
    "none: neither a provider nor nydusd has a credential for this image",
    "none: neither a service account nor nydusd has a credential for this image",
    "none: the image of this mount is unknown",
    "pending: the first request to the providers is in flight",
    "unreachable: nydusd is unresponsive",
  ]);
});

Deno.test("planInstance: keeps a token of the same user that expires later than ours", () => {
  const ours = token(NOW_MS + HOUR_MS);
  const later = NOW_MS + 2 * HOUR_MS;
  const kindOf = (theirs: Credential, change: Partial<Candidate> = {}) =>
    plan({ entry: entry(candidate(ours, change)), record: { currentAuth: currentAuth(theirs) } })
      .kind;
  strictEqual(kindOf(token(later)), "no-op");
  strictEqual(kindOf(token(NOW_MS + HOUR_MS / 2)), "deliver");
  const sameExpiry = basic(`e30.${btoa(JSON.stringify({ exp: (NOW_MS + HOUR_MS) / 1000 }))}.other`);
  strictEqual(kindOf(sameExpiry), "deliver");
  strictEqual(kindOf(token(later, "other")), "deliver");
  strictEqual(kindOf(basic("no expiry")), "deliver");
  strictEqual(kindOf(token(later), { account: "ns/a", plugin: "p" }), "deliver");
  strictEqual(kindOf(token(later), { forEndpoint: true }), "deliver");
});

Deno.test("planInstance: withholds a credential from unapproved hosts, and keeps what nydusd has", () => {
  const host = "mirror.example.com";
  const instance = {
    endpoint: { host, hosts: [{ role: "registry", host }] },
  } as unknown as Partial<RafsInstance>;
  const given = { entry: entry(OURS), instance };
  deepStrictEqual(plan(given).unapproved, { hosts: [host], action: "delivered" });
  strictEqual(summary(given), "deliver ours");
  strictEqual(summary({ ...given, unapprovedHostPolicy: "refuse" }), "withheld");
  const adopted = {
    ...given,
    entry: entry(OURS, "adopted"),
    unapprovedHostPolicy: "refuse",
  } as const;
  strictEqual(summary({ ...adopted, record: { currentAuth: THEIRS } }), "adopted");
  strictEqual(summary(adopted), "withheld");
});
