/**
 * Renewal of refused credentials in virtual time. `deno task measure:refused` measures the same on
 * the simulated node.
 */
import { equal, ok } from "node:assert/strict";
import {
  credentialFingerprint,
  type CredentialProvider,
  type CredentialRequest,
  parseImageReference,
} from "../../../lib/model/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { givenProvider } from "../../fakes/given_provider.ts";
import { VirtualNode, type VirtualNodeOptions } from "../../fakes/virtual_node.ts";
import { kubelet, response } from "../providers/exec_plugin/plugins.ts";

const SECOND = 1_000;
const MINUTE = 60_000;
const PLUGIN = { name: "p", matchImages: ["registry.example.com"] };
const image = (i: number) => `registry.example.com/team/app${i}:1`;

/** A node whose plugin returns one token for all images, with `mints` another per execution. */
function stage(
  { mints = false, before = [], readEveryMs = 500, ...more }: Partial<VirtualNodeOptions> & {
    readonly mints?: boolean;
    /** Providers before the plugin in the chain. */
    readonly before?: readonly CredentialProvider[];
  } = {},
) {
  const clock = new FakeClock();
  const { provider: plugin, runner } = kubelet([PLUGIN], { clock });
  const node = new VirtualNode({ clock, providers: [...before, plugin], readEveryMs, ...more });
  const token = { text: "t0", number: 0 };
  const executedMs: number[] = [];
  runner.answer = () => {
    executedMs.push(clock.monotonicMs());
    if (mints) token.text = `minted${++token.number}`;
    return response({ "registry.example.com": ["u", token.text] }, { duration: "1h" });
  };
  node.accepts = (pair) => pair === `u:${token.text}`;
  return { clock, node, token, executedMs };
}

Deno.test("Refused credential: reads succeed again within 10 s of the first refusal", async () => {
  let worstMs = 0;
  for (const version of ["2.4.1", "2.4.4"]) {
    for (let i = 0; i < 8; i++) {
      const { clock, node, token, executedMs } = stage({ pollPhaseMs: i * 617 });
      for (let m = 0; m < 5; m++) node.mount(image(m % 2), "u:t0", version);
      await node.run(async () => {
        await clock.advance(12 * SECOND + i * 379);
        const before = executedMs.length;
        node.forgetFailures();
        token.text = "t1"; // the only token that the registry accepts
        await clock.advance(20 * SECOND);
        const { firstFailureMs = NaN, lastFailureMs = NaN } = node;
        const recoveryMs = lastFailureMs - firstFailureMs;
        ok(recoveryMs <= 10 * SECOND, `${version}: reads failed for ${recoveryMs} ms`);
        worstMs = Math.max(worstMs, recoveryMs);
        equal(executedMs.length - before, 1, "one execution for two images and five mounts");
        ok(node.states().every((state) => state === "proven"), node.states().join());
      });
    }
  }
  ok(worstMs > 5 * SECOND, `at most ${worstMs} ms: without the delay of nydusd`);
});

Deno.test("Refused credential: reads fail for at most 10 s over six revocations 10 s apart", async () => {
  for (let jitter = 0; jitter < 4; jitter++) {
    const { clock, node, token, executedMs } = stage({ mints: true, readEveryMs: 100 });
    for (let m = 0; m < 3; m++) node.mount(image(m % 2), "u:t0", "2.4.1");
    await node.run(async () => {
      await clock.advance(30 * SECOND + jitter * 731);
      const before = executedMs.length;
      const errors = () => Math.max(...node.mounts.map((mount) => mount.errors));
      const errorsBefore = errors();
      const revoked = new Set<string>();
      node.accepts = (pair) => pair === `u:${token.text}` && !revoked.has(pair);
      for (let i = 0; i < 6; i++) {
        revoked.add(`u:${token.text}`);
        await clock.advance(10 * SECOND);
      }
      const failedMs = (errors() - errorsBefore) * 100;
      ok(failedMs <= 10 * SECOND, `reads failed for ${failedMs} ms`);
      equal(executedMs.length - before, 6, "one execution per revocation");
    });
  }
});

Deno.test("Refused credential: reads are polled every 800 ms in the 30 s after a forced renewal", async () => {
  const { clock, node, token, executedMs } = stage({ mints: true, readEveryMs: 100 });
  node.mount(image(0), "u:t0", "2.4.1");
  const revoked = new Set<string>();
  node.accepts = (pair) => pair === `u:${token.text}` && !revoked.has(pair);
  /** Revokes the token just after a slow poll; returns the time until the next execution. */
  const revoke = async () => {
    const before = executedMs.length;
    await clock.advance(4_850 - clock.monotonicMs() % 4_800);
    revoked.add(`u:${token.text}`);
    return await node.until(() => executedMs.length > before, 10 * SECOND, 50);
  };
  await node.run(async () => {
    await clock.advance(30 * SECOND);
    const times = [await revoke(), await revoke()];
    await clock.advance(31 * SECOND);
    times.push(await revoke());
    const [slow = 0, fast = Infinity, later = 0] = times;
    ok(slow > 4 * SECOND && fast <= 900 && later > 4 * SECOND, times.join(", "));
  });
});

Deno.test("Refused credential: failed reads count once nydusd uses the credential", async () => {
  const { clock, node, token, executedMs } = stage({ readEveryMs: 100 });
  node.mount(image(0), "u:t0", "2.4.4");
  const shown = () => node.reconciler.status().daemons[0]?.instances[0];
  const failingSinceMs = () => shown()?.readsFailingSinceMs;
  await node.run(async () => {
    await clock.advance(20_500); // after a poll of nydusd and one of the counters
    token.text = "t1";
    await node.reconciler.onDemand.renew();
    equal(executedMs.length, 2);
    await clock.advance(4_000);
    ok(node.mounts[0]?.errors, "nydusd still uses the previous credential");
    equal(failingSinceMs(), undefined);
    equal(executedMs.length, 2);
    await clock.advance(10_000);
    equal(shown()?.delivery, "proven");
    node.accepts = () => false;
    await clock.advance(5_000);
    ok(failingSinceMs() !== undefined);
    equal(shown()?.delivery, "in-use", "no longer proven");
    equal(executedMs.length, 3);
    node.accepts = () => true;
    await clock.advance(5_000);
    equal(failingSinceMs(), undefined);
    const [warning] = node.observer.of("warning");
    equal(warning?.code, "reads-failing");
    const passes = node.observer.of("reconcile-finished");
    ok(passes.some(({ trigger }) => trigger === "reads-failing"));
  });
});

Deno.test("provenReads: counts reads since the credential is in use, until one fails", async () => {
  const { clock, node, token } = stage();
  const mount = node.mount(image(0), "u:t0", "2.4.4");
  const shown = () => node.reconciler.status().daemons[0]?.instances[0];
  await node.run(async () => {
    await clock.advance(4 * SECOND);
    equal(shown()?.provenReads, undefined, "not in use for the first five seconds");
    await clock.advance(26 * SECOND);
    const { delivery, provenReads = 0 } = shown() ?? {};
    equal(delivery, "proven");
    equal(provenReads, 38, `of ${mount.reads}`);
    token.text = "t1";
    await clock.advance(4 * SECOND);
    equal(shown()?.provenReads, undefined, "reads are refused");
    await clock.advance(30 * SECOND);
    const again = shown()?.provenReads ?? 0;
    ok(again > 10 && again < provenReads + 20, `${again} after the renewal`);
  });
});

Deno.test("Refused credential: the first refusal fixes every mount with that credential", async () => {
  const { clock, node, token, executedMs } = stage({ readEveryMs: 1e9 });
  for (let m = 0; m < 600; m++) node.mount(image(m % 300), "u:t0", "2.4.1");
  await node.run(async () => {
    await clock.advance(30 * SECOND);
    const before = executedMs.length;
    token.text = "t1";
    const [reader] = node.mounts;
    ok(reader);
    reader.reads++;
    reader.errors++;
    // More mounts than one poll covers, and only one of them reads.
    await node.until(
      () => node.mounts.every((mount) => node.currentAuthOf(mount) === "u:t1"),
      12 * SECOND,
    );
    equal(executedMs.length - before, 1);
  });
});

Deno.test("Refused credential: one execution per backoff step, regardless of the number of reports", async () => {
  const { clock, node, executedMs } = stage({ mints: true });
  for (let m = 0; m < 40; m++) node.mount(image(m), "u:old", "2.4.1");
  node.accepts = () => false; // also what clients receive
  await node.run(async () => {
    await clock.advance(SECOND);
    const startMs = clock.monotonicMs();
    const before = executedMs.length;
    for (let s = 0; s < 150; s++) {
      for (const ref of [image(s % 40), "registry.example.com/library/any"]) {
        const named = parseImageReference(ref);
        const { answer } = await node.reconciler.onDemand.credential({ image: named, labels: {} });
        ok(answer);
        await node.reconciler.onDemand.refused(
          named,
          credentialFingerprint(
            answer.candidate.credential,
          ),
        );
      }
      await clock.advance(SECOND);
    }
    const steps = executedMs.slice(before).map((ms) => ms - startMs);
    // Immediately, then after 5, 10, 20, 40 and 80 seconds.
    ok(steps.length >= 4 && steps.length <= 6, `executions after ${steps.join()} ms`);
    for (const [i, ms] of steps.slice(1).entries()) {
      // An execution may be seen one step of the virtual clock late.
      const leastMs = 5 * SECOND * 2 ** i - SECOND;
      ok(ms - (steps[i] ?? 0) >= leastMs, `executions after ${steps.join()} ms`);
    }
  });
});

Deno.test("Refused credential: an image that is always refused does not delay the others", async () => {
  const { clock, node, token, executedMs } = stage();
  for (let m = 0; m < 4; m++) node.mount(image(m), "u:t0", "2.4.1");
  const accepts = (pair: string) => pair === `u:${token.text}`;
  node.accepts = (pair, repository) => repository !== "team/app0" && accepts(pair);
  await node.run(async () => {
    await clock.advance(10 * MINUTE);
    const failing = node.mounts[0]?.errors ?? 0;
    ok(failing > 50, "always refused");
    ok(executedMs.length <= 9, `${executedMs.length} executions in ten minutes`);
    token.text = "t1";
    const errors = () => node.mounts.slice(1).reduce((sum, mount) => sum + mount.errors, 0);
    const before = errors();
    await node.until(() => errors() > before, 5 * SECOND);
    await clock.advance(10 * SECOND);
    const after = errors();
    await clock.advance(5 * SECOND);
    equal(errors(), after, "reads of the others succeed again");
  });
});

Deno.test("Refused credential: a registry that refuses sporadically causes few executions", async () => {
  const { clock, node, executedMs } = stage();
  for (let m = 0; m < 3; m++) node.mount(image(m), "u:t0", "2.4.1");
  let reads = 0;
  node.accepts = () => ++reads % 40 !== 0;
  await node.run(async () => {
    await clock.advance(MINUTE);
    const before = executedMs.length;
    await clock.advance(10 * MINUTE);
    const more = executedMs.length - before;
    ok(more <= 40, `${more} executions in ten minutes`);
  });
});

Deno.test("Refused credential: ignores a report about another than the current credential", async () => {
  const { clock, node, token, executedMs } = stage();
  const { onDemand } = node.reconciler;
  node.mount(image(0), "u:t0", "2.4.1");
  await node.run(async () => {
    await clock.advance(10 * SECOND);
    const named = parseImageReference(image(0));
    const { answer } = await onDemand.credential({ image: named, labels: {} });
    ok(answer);
    token.text = "t1";
    equal(await onDemand.refused(named, answer.fingerprint), "requested");
    await clock.advance(SECOND);
    const before = executedMs.length;
    equal(await onDemand.refused(named, answer.fingerprint), "not-current");
    await clock.advance(SECOND);
    equal(executedMs.length, before);
    equal(node.currentAuthOf(node.mounts[0]!), "u:t1");
  });
});

Deno.test("Refused credential: a report is not lost during a request to its source", async () => {
  const docker = givenProvider("docker", ["u:t0"]);
  const requests: CredentialRequest[] = [];
  let pending = Promise.resolve();
  const slow: CredentialProvider = {
    ...docker,
    async provide(request) {
      requests.push(request);
      await pending;
      return await docker.provide(request);
    },
  };
  const node = new VirtualNode({ providers: [slow] });
  node.mount(image(0), "u:t0");
  await node.run(async () => {
    await node.clock.advance(SECOND);
    const named = parseImageReference(image(0));
    const { answer } = await node.reconciler.onDemand.credential({ image: named, labels: {} });
    ok(answer);
    const answered = Promise.withResolvers<void>();
    pending = answered.promise;
    node.reconciler.recheck();
    await node.clock.advance(SECOND);
    equal(await node.reconciler.onDemand.refused(named, answer.fingerprint), "requested");
    equal(requests.at(-1)?.refused, undefined);
    answered.resolve();
    await node.clock.advance(SECOND);
    equal(requests.at(-1)?.refused?.fingerprint, answer.fingerprint);
  });
});

Deno.test("Refused credential: a report for a registry fixes the mounts with that credential", async () => {
  const { clock, node, token, executedMs } = stage({ readEveryMs: 1e9 });
  for (let m = 0; m < 6; m++) node.mount(image(m % 3), "u:t0");
  await node.run(async () => {
    await clock.advance(MINUTE);
    const before = executedMs.length;
    token.text = "t1";
    // Like the docker credential helper, which knows the registry but not the image.
    const any = parseImageReference("registry.example.com/library/any");
    const { answer } = await node.reconciler.onDemand.credential({ image: any, labels: {} });
    ok(answer);
    equal(await node.reconciler.onDemand.refused(any, answer.fingerprint), "requested");
    await clock.advance(2 * SECOND);
    for (const mount of node.mounts) equal(node.currentAuthOf(mount), "u:t1");
    equal(executedMs.length - before, 1);
  });
});

for (const verify of ["on-change", "as-needed"] as const) {
  Deno.test(`Refused credential: a credential that a probe refuses is fetched again, without a read (${verify})`, async () => {
    const docker = givenProvider("docker", verify === "as-needed" ? ["u:wrong", "v:wrong"] : []);
    const { clock, node, token, executedMs } = stage({
      verify,
      before: [docker],
      readEveryMs: 1e9,
    });
    node.mount(image(0), "u:t0");
    await node.run(async () => {
      await clock.advance(MINUTE);
      const before = executedMs.length;
      token.text = "t1"; // the cached answer of the plugin is refused
      for (const i of [1, 2, 3]) node.mount(image(i));
      node.reconciler.trigger("node-changed");
      await clock.advance(2 * SECOND);
      for (const mount of node.mounts) {
        equal(node.currentAuthOf(mount), "u:t1", "also mounts that had it");
      }
      equal(executedMs.length - before, 1);
    });
  });
}
