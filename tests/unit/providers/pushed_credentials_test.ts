import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { type Credential, parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { labelsProvider, PutCredentials, type PutTarget } from "../../../lib/providers/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { ask, pairs } from "./exec_plugin/plugins.ts";

function basic(password: string): Credential {
  return { kind: "basic", username: "u", password: new Secret(password) };
}

function image(ref: string): PutTarget {
  return { kind: "image", image: parseImageReference(ref) };
}

Deno.test("PutCredentials: an image's own goes before its registry's, and both before none", () => {
  using puts = new PutCredentials({ clock: new FakeClock() });
  const found = (ref: string) => {
    const credential = puts.lookup(parseImageReference(ref))?.credential;
    return credential?.kind === "basic" ? credential.password.reveal() : undefined;
  };
  equal(found("registry.example.com/a:1"), undefined);
  puts.put({ kind: "registry", registry: "registry.example.com" }, basic("all"));
  puts.put(image("registry.example.com/a:1"), basic("own"));
  deepEqual(
    ["a:1", "a:2", "b:1"].map((name) => found(`registry.example.com/${name}`)),
    ["own", "all", "all"],
  );
  equal(found("other.example.com/a:1"), undefined);
  ok(puts.forget(image("registry.example.com/a:1")));
  equal(found("registry.example.com/a:1"), "all");
  equal(puts.forget(image("registry.example.com/a:1")), false);
});

Deno.test("PutCredentials: what has ended counts no more, and its end is told", async () => {
  const clock = new FakeClock();
  const changes: PutTarget[] = [];
  using puts = new PutCredentials({ clock, changed: (target) => changes.push(target) });
  const target = image("registry.example.com/a:1");
  puts.put(target, basic("short"), { validUntilMs: clock.wallMs() + 3_600_000 });
  await clock.waiting();
  await clock.advance(3_599_000);
  deepEqual([puts.size, changes.length], [1, 1]);
  await clock.advance(1_000);
  await clock.advance(0);
  deepEqual([puts.size, puts.list(), changes], [0, [], [target, target]]);
});

Deno.test("PutCredentials: another in its place lives its own life", async () => {
  const clock = new FakeClock();
  using puts = new PutCredentials({ clock });
  const target = image("registry.example.com/a:1");
  puts.put(target, basic("short"), { validUntilMs: clock.wallMs() + 1_000 });
  puts.put(target, basic("long"));
  await clock.advance(2_000);
  equal(puts.size, 1);
});

Deno.test("PutCredentials: however many are put, it stays bounded, and keeps the newest", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_200 }), (count) => {
      using puts = new PutCredentials({ clock: new FakeClock() });
      for (let i = 0; i < count; i++) puts.put(image(`registry.example.com/a:${i}`), basic("p"));
      equal(puts.size, Math.min(count, 1_000));
      ok(puts.lookup(parseImageReference(`registry.example.com/a:${count - 1}`)));
    }),
    { numRuns: 5 },
  );
});

Deno.test("labelsProvider can be asked again exactly while something is put", async () => {
  const clock = new FakeClock();
  using puts = new PutCredentials({ clock });
  const provider = labelsProvider(clock, puts);
  equal(provider.renewable, false);
  puts.put(image("nginx"), basic("put"), { validUntilMs: clock.wallMs() + 1_000 });
  equal(provider.renewable, true);
  const outcome = await provider.provide(ask("nginx"));
  deepEqual(pairs(outcome), ["u:put"]);
  equal(
    outcome.kind === "found" && outcome.candidates[0].expiresAtMs,
    clock.wallMs() + 1_000,
  );
  const labels = {
    "containerd.io/snapshot/pullusername": "l",
    "containerd.io/snapshot/pullsecret": "label",
  };
  deepEqual(pairs(await provider.provide(ask("nginx", { labels }))), ["l:label"]);
  equal((await provider.provide(ask("redis"))).reason, "no-labels");
});
