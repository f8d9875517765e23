/**
 * Parity with the kubelet, which tries every matching credential until a pull succeeds: a mount
 * gets the accepted credential for any sources, in any order, and any credential in nydusd.
 */
import { equal, ok } from "node:assert/strict";
import fc from "fast-check";
import type { ProviderName } from "../../../lib/model/mod.ts";
import { givenProvider } from "../../fakes/given_provider.ts";
import { VirtualNode } from "../../fakes/virtual_node.ts";

const SECOND = 1_000;
const MINUTE = 60_000;
const IMAGE = "registry.example.com/team/app:1";
const PROVIDERS: readonly ProviderName[] = ["docker", "kubelet", "kubesecret"];

/** Credentials per provider, the accepted one, and the initial one of the mount. */
const situation = fc.record({
  counts: fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3)).filter((counts) => counts.some((n) => n > 0)),
  accepted: fc.nat(),
  currentAuth: fc.constantFrom("none", "first", "accepted", "unknown"),
  minted: fc.boolean(),
  version: fc.constantFrom("2.4.1", "2.4.4"),
});

for (
  const [verify, mostMs, runs] of [
    ["as-needed", 40 * SECOND, 60],
    ["on-change", 40 * SECOND, 30],
    ["never", 60 * MINUTE, 12],
  ] as const
) {
  Deno.test(`Reconciler: a mount gets the accepted credential, as with the kubelet (${verify})`, async () => {
    await fc.assert(
      fc.asyncProperty(situation, async ({ counts, accepted, currentAuth, minted, version }) => {
        const pairs = counts.map((n, i) => Array.from({ length: n }, (_, k) => `u${i}${k}:p`));
        const all = pairs.flat();
        const good = all[accepted % all.length] ?? "";
        const initial = {
          none: "",
          first: all[0] ?? "",
          accepted: good,
          unknown: "s:x",
        };
        const node = new VirtualNode({
          providers: PROVIDERS.map((name, i) =>
            givenProvider(name, pairs[i] ?? [], { watched: !(minted && name === "kubelet") })
          ),
          verify,
          readEveryMs: verify === "never" ? 20 * SECOND : SECOND,
        });
        node.accepts = (pair) => pair === good;
        const mount = node.mount(IMAGE, initial[currentAuth], version);
        await node.run(async () => {
          const isConverged = () => node.currentAuthOf(mount) === good && mount.inUse === good;
          await node.until(isConverged, mostMs, 5 * SECOND);
          await node.clock.advance(30 * SECOND);
          equal(node.currentAuthOf(mount), good, "it stays");
          if (verify === "never") equal(node.probes.length, 0);
          if (verify !== "as-needed") return;
          for (const pair of new Set(node.probes)) {
            const times = node.probes.filter((one) => one === pair).length;
            ok(times <= 2, `${pair} was probed ${times} times`);
          }
        });
      }),
      { numRuns: runs },
    );
  });
}

Deno.test("Reconciler: finds the last of forty pull secrets with one probe each", async () => {
  const pairs = Array.from({ length: 40 }, (_, i) => `u${i}:p`);
  const node = new VirtualNode({ providers: [givenProvider("kubesecret", pairs)] });
  node.accepts = (pair) => pair === "u39:p";
  const mount = node.mount(IMAGE);
  await node.run(async () => {
    await node.clock.advance(10 * SECOND);
    equal(node.currentAuthOf(mount), "u39:p");
    equal(node.probes.length, 40);
  });
});
