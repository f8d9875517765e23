/** Executions of a cloud plugin on a whole node, in virtual time. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { FakeClock } from "../../fakes/clock.ts";
import { VirtualNode } from "../../fakes/virtual_node.ts";
import { kubelet, response } from "../providers/exec_plugin/plugins.ts";

const MINUTE = 60_000;
const IMAGES = 50;

Deno.test("Reconciler: the Google plugin runs every few minutes for 50 images, and each new token is delivered", async () => {
  const clock = new FakeClock();
  const plugin = { name: "auth-provider-gcp", matchImages: ["*.pkg.dev"], duration: "0s" };
  const { provider, runner } = kubelet([plugin], { clock });
  const node = new VirtualNode({ clock, providers: [provider] });
  const executedMs: number[] = [];
  // The metadata server replaces a token of one hour five minutes before its expiry.
  const tokenAt = (ms: number) => `token${Math.floor(ms / (55 * MINUTE))}`;
  runner.answer = () => {
    executedMs.push(clock.monotonicMs());
    const token = tokenAt(clock.monotonicMs());
    return response({ "*.pkg.dev": ["oauth2accesstoken", token] }, {
      type: "Registry",
      duration: "4m",
    });
  };
  for (let i = 0; i < IMAGES; i++) node.mount(`eu-docker.pkg.dev/p/team/app${i}:1`);
  await node.run(async () => {
    equal(executedMs.length, 1);
    await clock.advance(5 * MINUTE);
    const before = executedMs.length;
    await clock.advance(110 * MINUTE);
    const gaps = executedMs.slice(before).map((ms, i, all) => ms - (all[i - 1] ?? -Infinity));
    ok(gaps.length >= 20, `${gaps.length} executions in 110 minutes`);
    deepEqual(gaps.filter((ms) => ms < 2 * MINUTE), [], "more often than every 2 minutes");
    equal(
      node.mounts.filter((mount) => node.currentAuthOf(mount).endsWith("token2")).length,
      IMAGES,
    );
    // Only a new token is delivered, once to each mount.
    equal(node.deliveries.length, 3 * IMAGES);
  });
});
