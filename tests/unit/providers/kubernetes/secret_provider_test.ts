import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import {
  type Credential,
  credentialFingerprint,
  credentialSecret,
  parseImageReference,
  Secret,
} from "../../../../lib/model/mod.ts";
import {
  type CachedSecret,
  KubeSecretProvider,
} from "../../../../lib/providers/kubernetes/secret_provider.ts";
import { FakeClock } from "../../../fakes/clock.ts";

const IMAGE = parseImageReference("registry.example.com/team/app:1");

function basic(password: string): Credential {
  return { kind: "basic", username: "robot", password: new Secret(password) };
}

/** A secret with one password per key. */
function secret(at: string, entries: readonly (readonly [key: string, password: string])[]) {
  const [namespace = "", name = ""] = at.split("/");
  return {
    namespace,
    name,
    entries: entries.map(([key, password]) => ({ key, credentials: [basic(password)] })),
    problems: [],
    digest: "",
    readAtMs: 0,
  };
}

/** A secret with 300 keys for the same repository, more specific than those of other tenants. */
function hostileSecret(at: string): CachedSecret {
  const entries = Array.from({ length: 300 }, (_, i) => {
    return [`registry.example.com/team/app?${i}`, `hostile${i}`] as const;
  });
  return secret(at, entries);
}

async function offered(secrets: readonly CachedSecret[], inUse?: string) {
  const clock = new FakeClock();
  await clock.advance(60_000);
  const provider = new KubeSecretProvider({
    source: () => ({
      secrets: () => secrets,
      waitForList: () => Promise.resolve(),
      refresh: () => Promise.resolve(),
      problems: () => [],
      stop: () => {},
    }),
    clock,
    changed: () => {},
  });
  const outcome = await provider.provide({
    image: IMAGE,
    labels: {},
    ...(inUse !== undefined && { inUse: credentialFingerprint(basic(inUse)) }),
  });
  if (outcome.kind !== "found") throw new Error(`the outcome is ${outcome.kind}`);
  const passwords = outcome.candidates.map(({ credential }) =>
    credentialSecret(credential).reveal()
  );
  return { passwords, notes: outcome.notes };
}

Deno.test("KubeSecretProvider: keeps a tenant's credential when another tenant's secret has 300 keys", async () => {
  const theirs = secret("tenant/pull", [["registry.example.com/team", "good"]]);
  const { passwords, notes } = await offered([hostileSecret("hostile/pull"), theirs]);
  equal(passwords.length, 17);
  ok(passwords.includes("good"));
  ok(notes[0]?.detail?.startsWith("284 more credentials match"), notes[0]?.detail);
});

Deno.test("KubeSecretProvider: returns the credential in use even beyond the limits", async () => {
  const { passwords } = await offered([hostileSecret("tenant/pull")], "hostile299");
  equal(passwords.length, 17);
  ok(passwords.includes("hostile299"));
});

Deno.test("KubeSecretProvider: ranks keys without their query, and counts equal credentials once", async () => {
  const { passwords } = await offered([
    secret("a/a", [
      ["registry.example.com/team?z", "same"],
      ["registry.example.com/team", "same"],
      ["registry.example.com?zzzz", "host"],
      ["registry.example.com/team/app?a", "app"],
    ]),
  ]);
  deepEqual(passwords, ["app", "same", "host"]);
});

Deno.test("KubeSecretProvider: keeps the limits and a fair share per namespace for any secrets", async () => {
  const place = fc.record({
    namespace: fc.nat(20).map((n) => `n${n}`),
    name: fc.nat(8).map((n) => `s${n}`),
    count: fc.nat(80),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(place, {
        minLength: 1,
        maxLength: 40,
        selector: ({ namespace, name }) => `${namespace}/${name}`,
      }),
      fc.nat(),
      async (places, choice) => {
        const secrets = places.map(({ namespace, name, count }) =>
          secret(
            `${namespace}/${name}`,
            Array.from({ length: count + 1 }, (_, i) => {
              return [`registry.example.com?${i}`, `${namespace} ${name} ${i}`] as const;
            }),
          )
        );
        const all = places.flatMap(({ namespace, name, count }) =>
          Array.from({ length: count + 1 }, (_, i) => `${namespace} ${name} ${i}`)
        );
        const inUse = all[choice % all.length] ?? "";
        const { passwords } = await offered(secrets, inUse);
        ok(passwords.includes(inUse), "the credential in use");
        const others = passwords.filter((password) => password !== inUse);
        const counts = (words: number) => {
          const counted = new Map<string, number>();
          for (const password of others) {
            const key = password.split(" ").slice(0, words).join(" ");
            counted.set(key, (counted.get(key) ?? 0) + 1);
          }
          return counted;
        };
        ok(passwords.length <= 192, `${passwords.length} in total`);
        ok(Math.max(...counts(2).values()) <= 16, "per secret");
        const perNamespace = counts(1);
        ok(Math.max(...perNamespace.values()) <= 64, "per namespace");
        const fairShare = Math.floor(191 / 21);
        for (const namespace of new Set(places.map((one) => one.namespace))) {
          const own = places.filter((one) => one.namespace === namespace);
          const wanted = own.reduce((sum, { count }) => sum + Math.min(count, 16), 0);
          const got = perNamespace.get(namespace) ?? 0;
          ok(got >= Math.min(wanted, fairShare), `${namespace} got ${got} of ${wanted}`);
        }
      },
    ),
    { numRuns: 60 },
  );
});
