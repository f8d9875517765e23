import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import {
  type Credential,
  credentialFingerprint,
  credentialSecret,
  parseImageReference,
  Secret,
} from "../../../../lib/model/mod.ts";
import { answered } from "../../../fakes/kube_http.ts";
import { kubeStage } from "../../../fakes/kube_stage.ts";
import { jwt } from "../exec_plugin/plugins.ts";
import { secretObject, type SecretSpec } from "./secrets.ts";

const IMAGE = parseImageReference("registry.example.com/team/app:1");

function basic(password: string): Credential {
  return { kind: "basic", username: "robot", password: new Secret(password) };
}

type Spec = SecretSpec & { readonly namespace: string; readonly name: string };

/** A secret with one password per key. */
function secret(at: string, entries: readonly (readonly [key: string, password: string])[]): Spec {
  const [namespace = "", name = ""] = at.split("/");
  const auths = entries.map(([key, password]) => [key, { username: "robot", password }] as const);
  return { namespace, name, auths: Object.fromEntries(auths) };
}

/** A secret with 300 keys for the same repository, more specific than those of other tenants. */
function hostileSecret(at: string): Spec {
  const entries = Array.from({ length: 300 }, (_, i) => {
    return [`registry.example.com/team/app?${i}`, `hostile${i}`] as const;
  });
  return secret(at, entries);
}

async function offered(secrets: readonly Spec[], inUse?: string) {
  const bySecret = new Map(secrets.map((one) => [`${one.namespace}/${one.name}`, one]));
  const pods = secrets.map(({ namespace, name }, i) => ({
    metadata: { namespace, name: `p${i}`, uid: `${i}` },
    spec: { imagePullSecrets: [{ name }] },
    status: {},
  }));
  using stage = kubeStage((path) => {
    if (path.includes("/pods")) return answered({ metadata: {}, items: pods });
    const [, namespace = "", name = ""] = /namespaces\/(.*)\/secrets\/([^?]*)/.exec(path) ?? [];
    return answered(secretObject(bySecret.get(`${namespace}/${name}`) ?? {}));
  });
  const provider = stage.kube.secrets();
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

Deno.test("KubeSecretProvider: returns a credential beside any number of invalid keys", async () => {
  const invalid = Array.from({ length: 1_000 }, (_, i) => [`[${i}`, "p"] as const);
  const few = invalid.slice(0, 25);
  // More secrets than are watched; one has as many keys as are read.
  const secrets = Array.from(
    { length: 130 },
    (_, i) => secret(`hostile/${i}`, i === 0 ? invalid : few),
  );
  const theirs = secret("tenant/pull", [["registry.example.com/team", "good"]]);
  const { passwords, notes } = await offered([...secrets, theirs]);
  deepEqual([passwords, notes.length], [["good"], 20]);
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

Deno.test("KubeSecretProvider: reports an expiry that it ignores", async () => {
  const { notes } = await offered([secret("a/a", [["registry.example.com", jwt(1_000)]])]);
  deepEqual(notes.map(({ subject, detail }) => `${subject}: ${detail}`), [
    "secret a/a: ignoring the token's expiry: in the past",
  ]);
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
        const perNamespace = new Map<string, number>();
        for (const password of others) {
          const [namespace = ""] = password.split(" ");
          perNamespace.set(namespace, (perNamespace.get(namespace) ?? 0) + 1);
        }
        ok(passwords.length <= 64, `${passwords.length} in total`);
        ok(Math.max(...perNamespace.values()) <= 16, "per namespace");
        const fairShare = Math.floor(63 / 21);
        for (const namespace of new Set(places.map((one) => one.namespace))) {
          const own = places.filter((one) => one.namespace === namespace);
          const wanted = own.reduce((sum, { count }) => sum + count, 0);
          const got = perNamespace.get(namespace) ?? 0;
          ok(got >= Math.min(wanted, fairShare), `${namespace} got ${got} of ${wanted}`);
        }
      },
    ),
    { numRuns: 60 },
  );
});
