/**
 * The kubelet tries every credential that matches until a pull works: whatever the sources, their
 * order and what a mount holds, a mount gets the one that works. The agent's own loop, in virtual
 * time.
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

/** Who has how many, which of them works, and what the mount was born with. */
const situation = fc.record({
  counts: fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3)).filter((counts) => counts.some((n) => n > 0)),
  works: fc.nat(),
  currentAuth: fc.constantFrom("nothing", "another", "what works", "a stranger"),
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
  Deno.test(`what would work with the kubelet works here (${verify})`, async () => {
    await fc.assert(
      fc.asyncProperty(situation, async ({ counts, works, currentAuth, minted, version }) => {
        const pairs = counts.map((n, i) => Array.from({ length: n }, (_, k) => `u${i}${k}:p`));
        const all = pairs.flat();
        const good = all[works % all.length] ?? "";
        const born = {
          nothing: "",
          another: all[0] ?? "",
          "what works": good,
          "a stranger": "s:x",
        };
        const node = new VirtualNode({
          providers: PROVIDERS.map((name, i) =>
            givenProvider(name, pairs[i] ?? [], { watched: !(minted && name === "kubelet") })
          ),
          verify,
          readEveryMs: verify === "never" ? 20 * SECOND : SECOND,
        });
        node.accepts = (pair) => pair === good;
        const mount = node.mount(IMAGE, born[currentAuth], version);
        await node.run(async () => {
          const isWhole = () => node.currentAuthOf(mount) === good && mount.inUse === good;
          await node.until(isWhole, mostMs, 5 * SECOND);
          await node.clock.advance(30 * SECOND);
          equal(node.currentAuthOf(mount), good, "and it stays");
          if (verify === "never") equal(node.probes.length, 0);
          if (verify !== "as-needed") return;
          for (const pair of new Set(node.probes)) {
            const times = node.probes.filter((one) => one === pair).length;
            ok(times <= 2, `${pair} was asked about ${times} times`);
          }
        });
      }),
      { numRuns: runs },
    );
  });
}

Deno.test("the last of forty pull secrets is found, each asked about once", async () => {
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
