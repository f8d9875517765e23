/** What is foretold of an outage, and what then happens: the agent's own loop in virtual time. */
import { equal, ok } from "node:assert/strict";
import { FakeClock } from "../../fakes/clock.ts";
import { exited } from "../../fakes/process.ts";
import { VirtualNode } from "../../fakes/virtual_node.ts";
import { kubelet, response } from "../resolve/plugins.ts";

const SECOND = 1_000;
const MINUTE = 60_000;
const READ_EVERY_MS = 2 * SECOND;

/** A password as ECR makes them, which tells when it ends. */
function token(number: number, endMs: number): string {
  const expiration = Math.floor(endMs / 1_000);
  return btoa(JSON.stringify({ payload: `${number}`, version: "2", type: "DATA_KEY", expiration }));
}

/** A node whose tokens live so long, and whose token service can be silent. */
function stage(lifeMs: number) {
  const clock = new FakeClock();
  const plugin = { name: "ecr", matchImages: ["registry.example.com"] };
  const { provider, runner } = kubelet([plugin], { clock });
  const node = new VirtualNode({ clock, providers: [provider], readEveryMs: READ_EVERY_MS });
  const service = { isDown: false };
  const endsMs = new Map<string, number>();
  runner.answer = () => {
    if (service.isDown) return exited("", 1);
    const endMs = Math.floor((clock.wallMs() + lifeMs) / 1_000) * 1_000;
    const password = token(endsMs.size, endMs);
    endsMs.set(`AWS:${password}`, endMs);
    return response({ "registry.example.com": ["AWS", password] });
  };
  node.accepts = (pair) => clock.wallMs() < (endsMs.get(pair) ?? 0);
  return { clock, node, service };
}

/** Within 5 %, or as near as reads can tell. */
function within5Percent(seenMs: number, foretoldMs: number, what: string): void {
  const mostMs = Math.max(0.05 * foretoldMs, READ_EVERY_MS);
  ok(Math.abs(seenMs - foretoldMs) <= mostMs, `${what}: ${foretoldMs} foretold, ${seenMs} seen`);
}

for (const [lifeMinutes, startMinutes] of [[20, 1], [20, 9.5], [20, 13], [180, 100]] as const) {
  Deno.test(`an outage after ${startMinutes} of ${lifeMinutes} minutes shows what was foretold, within 5 %`, async () => {
    const { clock, node, service } = stage(lifeMinutes * MINUTE);
    for (let i = 0; i < 3; i++) node.mount(`registry.example.com/team/app${i % 2}:1`);
    await node.run(async () => {
      await clock.advance(startMinutes * MINUTE);
      node.forgetFailures();
      service.isDown = true;
      const startMs = clock.monotonicMs();
      const downMs = (lifeMinutes + 15) * MINUTE;
      const { nowMs, images } = await node.reconciler.forecast(downMs);
      const foretoldMs = Math.min(...images.map(({ readsEndAtMs = NaN }) => readsEndAtMs)) - nowMs;
      const failingMs = Math.max(...images.map((image) => image.failingMs ?? NaN));
      for (const { instances } of node.reconciler.status().daemons) {
        for (const { readsEndAtMs = NaN } of instances) {
          ok(readsEndAtMs - nowMs >= foretoldMs, "no mount's end comes before the node's");
        }
      }
      await clock.advance(foretoldMs - READ_EVERY_MS);
      equal(node.firstFailureMs, undefined, "every mount reads until then");
      await clock.advance(downMs - foretoldMs + READ_EVERY_MS);
      within5Percent((node.firstFailureMs ?? NaN) - startMs, foretoldMs, "the first failed read");
      service.isDown = false;
      await clock.advance(MINUTE);
      const { firstFailureMs = NaN, lastFailureMs = NaN } = node;
      const failedMs = lastFailureMs - firstFailureMs;
      // What is dead is asked for every 30 seconds, at the most.
      ok(
        failedMs <= failingMs + READ_EVERY_MS,
        `${failingMs} at the most foretold, ${failedMs} seen`,
      );
      ok(
        failedMs >= failingMs - 40 * SECOND,
        `${failingMs} at the most foretold, ${failedMs} seen`,
      );
      ok(node.states().every((state) => state === "proven"), node.states().join());
    });
  });
}

Deno.test("an outage that is foretold to cost no read costs none", async () => {
  const { clock, node, service } = stage(10 * MINUTE);
  node.mount("registry.example.com/team/app:1");
  await node.run(async () => {
    for (let i = 0; i < 4; i++) {
      await clock.advance(4 * MINUTE);
      service.isDown = true;
      node.forgetFailures();
      const { images } = await node.reconciler.forecast(2 * MINUTE);
      ok(images.every(({ failingMs }) => failingMs === undefined), JSON.stringify(images));
      await clock.advance(2 * MINUTE);
      service.isDown = false;
      await clock.advance(MINUTE);
      equal(node.firstFailureMs, undefined);
    }
  });
});
