import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import {
  type Credential,
  parseImageReference,
  repositoryReference,
  Secret,
} from "../../../lib/model/mod.ts";
import { labelsProvider, PushedCredentials, type PushTarget } from "../../../lib/providers/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { pairs, requestFor } from "./exec_plugin/plugins.ts";

function basic(password: string): Credential {
  return { kind: "basic", username: "u", password: new Secret(password) };
}

function image(ref: string): PushTarget {
  return { kind: "image", image: parseImageReference(ref) };
}

Deno.test("PushedCredentials: prefers the image's credential to its registry's", () => {
  const pushed = new PushedCredentials({ clock: new FakeClock() });
  const found = (ref: string) => {
    const credential = pushed.lookup(parseImageReference(ref))?.credential;
    return credential?.kind === "basic" ? credential.password.reveal() : undefined;
  };
  equal(found("registry.example.com/a:1"), undefined);
  pushed.put({ kind: "registry", registry: "registry.example.com" }, basic("all"));
  pushed.put(image("registry.example.com/a:1"), basic("own"));
  deepEqual(
    ["a:1", "a:2", "b:1"].map((name) => found(`registry.example.com/${name}`)),
    ["own", "all", "all"],
  );
  equal(found("other.example.com/a:1"), undefined);
  ok(pushed.forget(image("registry.example.com/a:1")));
  equal(found("registry.example.com/a:1"), "all");
  equal(pushed.forget(image("registry.example.com/a:1")), false);
});

Deno.test("PushedCredentials: removes an expired credential, but not its replacement", async () => {
  const clock = new FakeClock();
  const changes: PushTarget[] = [];
  const pushed = new PushedCredentials({ clock, changed: (target) => changes.push(target) });
  const target = image("registry.example.com/a:1");
  const validUntilMs = clock.wallMs() + 1_000;
  pushed.put(target, basic("short"), { validUntilMs });
  pushed.put(image("registry.example.com/b:1"), basic("short"), { validUntilMs });
  pushed.put(image("registry.example.com/b:1"), basic("long"));
  await clock.advance(999);
  equal(pushed.list().length, 2);
  await clock.advance(1);
  equal(pushed.lookup(parseImageReference("registry.example.com/a:1")), undefined);
  equal(pushed.forget(target), false);
  deepEqual([pushed.list().length, changes.length], [1, 3]);
});

Deno.test("PushedCredentials: returns the newest credential of a repository without a tag", () => {
  const pushed = new PushedCredentials({ clock: new FakeClock() });
  for (const tag of ["1", "2"]) pushed.put(image(`registry.example.com/a:${tag}`), basic(tag));
  pushed.put(image("registry.example.com/ab:3"), basic("other"));
  const found = pushed.lookup(repositoryReference("registry.example.com", "a"))?.credential;
  equal(found?.kind === "basic" && found.password.reveal(), "2");
});

Deno.test("PushedCredentials: evicts the oldest credential at the limit", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_200 }), (count) => {
      const pushed = new PushedCredentials({ clock: new FakeClock() });
      for (let i = 0; i < count; i++) pushed.put(image(`registry.example.com/a:${i}`), basic("p"));
      equal(pushed.list().length, Math.min(count, 1_000));
      ok(pushed.lookup(parseImageReference(`registry.example.com/a:${count - 1}`)));
    }),
    { numRuns: 5 },
  );
});

Deno.test("labelsProvider: is renewable only while a credential is pushed", async () => {
  const clock = new FakeClock();
  const pushed = new PushedCredentials({ clock });
  const provider = labelsProvider(clock, pushed);
  equal(provider.renewable, false);
  pushed.put(image("nginx"), basic("put"), { validUntilMs: clock.wallMs() + 1_000 });
  equal(provider.renewable, true);
  const outcome = await provider.provide(requestFor("nginx"));
  deepEqual(pairs(outcome), ["u:put"]);
  equal(
    outcome.kind === "found" && outcome.candidates[0].expiresAtMs,
    clock.wallMs() + 1_000,
  );
  const labels = {
    "containerd.io/snapshot/pullusername": "l",
    "containerd.io/snapshot/pullsecret": "label",
  };
  deepEqual(pairs(await provider.provide(requestFor("nginx", { labels }))), ["l:label"]);
  equal((await provider.provide(requestFor("redis"))).reason, "no-labels");
});
