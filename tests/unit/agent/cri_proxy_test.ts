import { deepEqual, equal } from "node:assert/strict";
import { join } from "node:path";
import type { Context } from "../../../lib/platform/mod.ts";
import { describeLinkState } from "../../../lib/cli/cri_proxy.ts";
import { CriProxy } from "../../../lib/agent/cri_proxy.ts";
import { isMemoryBacked, systemFiles } from "../../../lib/platform/mod.ts";
import { parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";

/** A tmpfs; the credential file is written nowhere else. */
const MEMORY = "/dev/shm";
const hasMemory = await isMemoryBacked(MEMORY).catch(() => false);

Deno.test({
  name: "CriProxy: leaves no credential file behind when it is disabled during a write",
  ignore: !hasMemory, // needs a tmpfs
  async fn() {
    const dir = await Deno.makeTempDir({ dir: MEMORY, prefix: "cri-" });
    const clock = new FakeClock();
    const writing = Promise.withResolvers<void>();
    const mayWrite = Promise.withResolvers<void>();
    const written = Promise.withResolvers<void>();
    const files = {
      ...systemFiles,
      async writeAtomic(...args: Parameters<typeof systemFiles.writeAtomic>) {
        writing.resolve();
        await mayWrite.promise;
        await systemFiles.writeAtomic(...args);
        written.resolve();
      },
    };
    const config = {
      enabled: true,
      persist: true,
      socket: join(dir, "cri.sock"),
      imageServiceSocket: join(dir, "containerd.sock"),
      fallbackDelayMs: 0,
    };
    try {
      const context = { clock, files } as unknown as Context;
      await using criProxy = new CriProxy(context, new FakeObserver());
      await criProxy.apply(config);
      criProxy.cache?.record({
        image: parseImageReference("registry.example/team/app:v1"),
        credential: { kind: "basic", username: "robot", password: new Secret("seen-once") },
      });
      await clock.advance(1_000);
      await writing.promise;
      const disabling = criProxy.apply({ ...config, enabled: false });
      // If it did not wait for the write, it would complete meanwhile.
      for (let i = 0; i < 200; i++) await flushTasks();
      mayWrite.resolve();
      await Promise.all([written.promise, disabling]);
      equal(await systemFiles.stat(join(dir, "cri-pulls.json")), undefined);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});

Deno.test("describeLinkState: returns whether pulls go where configured, with a text", () => {
  const config = {
    link: "/l",
    socket: "/s",
    imageServiceSocket: "/i",
    enabled: true,
    fallbackDelayMs: 0,
    persist: true,
  };
  const on = { isOff: false, isServing: true };
  const cases = [
    [on, undefined, false, "/l does not exist: its clients cannot connect"],
    [on, "/s", true, "in the path: /l points to the agent"],
    [{ ...on, isOff: true }, "/s", false, "in the path: /l points to the agent"],
    [
      { ...on, isServing: false },
      "/s",
      false,
      "/l points to /s, where nothing listens: the agent is restarting; if it does not come back, " +
      "run `nydus-auth-agent cri-proxy off`",
    ],
    [on, "/x", false, "out of the path: /l points to /x, not to /i"],
    [
      { ...on, isOff: true },
      "/i",
      true,
      "out of the path: /l points to /i, set by `cri-proxy off`",
    ],
    [
      { ...on, isServing: false },
      "/i",
      false,
      "out of the path: /l points to /i; no agent serves",
    ],
    [
      on,
      "/i",
      false,
      "out of the path: /l points to /i although the agent serves: run " +
      "`nydus-auth-agent cri-proxy on`",
    ],
  ] as const;
  for (const [state, target, isExpected, text] of cases) {
    deepEqual(describeLinkState(config, { ...state, target }), { text, isExpected });
  }
  deepEqual(describeLinkState({ ...config, enabled: false }, { ...on, target: "/i" }), {
    text: "out of the path: /l points to /i; the CRI proxy is not enabled",
    isExpected: true,
  });
  equal(
    describeLinkState({ ...config, enabled: false }, { ...on, target: "/s" }).isExpected,
    false,
  );
});
