import { deepEqual, equal } from "node:assert/strict";
import { Secret } from "../../../lib/model/mod.ts";
import { criProvider, disabledProvider, labelsProvider } from "../../../lib/providers/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { pairs, requestFor } from "./exec_plugin/plugins.ts";

const NAME = "containerd.io/snapshot/pullusername";
const SECRET = "containerd.io/snapshot/pullsecret";

Deno.test("labelsProvider: requires both labels", async () => {
  const provider = labelsProvider(new FakeClock());
  equal(provider.renewable, false);
  const provide = (labels: Record<string, string>) =>
    provider.provide(requestFor("nginx", { labels }));
  deepEqual(pairs(await provide({ [NAME]: "u", [SECRET]: "p:q" })), ["u:p:q"]);
  equal((await provide({})).reason, "no-labels");
  equal((await provide({ [NAME]: "", [SECRET]: "" })).reason, "no-labels");
  equal((await provide({ [NAME]: "u" })).reason, "incomplete-labels");
  equal((await provide({ [SECRET]: "p" })).reason, "incomplete-labels");
});

Deno.test("criProvider: returns observed credentials, and is not enabled without a CRI proxy", async () => {
  equal((await criProvider(undefined).provide(requestFor("nginx"))).reason, "not-enabled");
  const credential = { kind: "basic", username: "u", password: new Secret("p") } as const;
  const provider = criProvider({
    lookup: ({ text }) =>
      text === "docker.io/library/nginx:latest" ? { credential, seenAtMs: 7 } : undefined,
  });
  equal(provider.renewable, false);
  const outcome = await provider.provide(requestFor("nginx"));
  deepEqual(pairs(outcome), ["u:p"]);
  equal(outcome.kind === "found" && outcome.candidates[0].fetchedAtMs, 7);
  equal((await provider.provide(requestFor("redis"))).reason, "no-pull-observed");
});

Deno.test("disabledProvider: reports not-enabled", async () => {
  const provider = disabledProvider("kubesecret", true);
  deepEqual([provider.name, provider.renewable], ["kubesecret", true]);
  equal((await provider.provide(requestFor("nginx"))).reason, "not-enabled");
});
