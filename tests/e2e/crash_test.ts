/** A core dump would contain every secret in memory. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { CanaryDetector, newTokenCanary } from "../canary/detector.ts";
import { filesBelow } from "../canary/sinks.ts";
import { AgentProcess, simNode } from "./stage.ts";

const UNIT = new URL("../../lib/assets/nydus-auth-agent.service", import.meta.url);
const pattern = await Deno.readTextFile("/proc/sys/kernel/core_pattern").catch(() => "");
/** With other patterns a dump goes to a program, which may store it elsewhere. */
const DUMPS_HERE = /^core\s*$/.test(pattern);
const HAS_PRLIMIT = await new Deno.Command("prlimit", { args: ["--version"], stdout: "null" })
  .output().then(({ success }) => success, () => false);

function cores(folder: string): readonly string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name)
    .filter((name) => /^core(?:\.\d+)?$/.test(name));
}

Deno.test({
  name:
    "canary: an agent that crashes under the unit's limits leaves no core dump and no secret in the log",
  ignore: !HAS_PRLIMIT || !DUMPS_HERE,
  async fn() {
    const secret = newTokenCanary();
    const detector = new CanaryDetector({ secret });
    await using node = simNode();
    node.rotatePassword(secret);
    const image = `${node.passwordRegistry.host}/base/os:1`;
    const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
    const agent = await AgentProcess.start(node);
    await agent.until(
      "the secret",
      async () => await daemon.currentAuth("/") === `robot:${secret}`,
    );
    const before = cores(Deno.cwd());
    const [, limit = ""] = /^LimitCORE=(\S+)$/m.exec(await Deno.readTextFile(UNIT)) ?? [];
    const args = ["--pid", String(agent.pid), `--core=${limit}:${limit}`];
    strictEqual((await new Deno.Command("prlimit", { args }).output()).code, 0);
    agent.signal("SIGABRT");
    ok(await agent.ended() !== 0);
    deepStrictEqual(cores(Deno.cwd()), before, "a core dump was left");
    await agent[Symbol.asyncDispose]();
    deepStrictEqual(detector.find(agent.log), []);
  },
});

Deno.test({
  name: "canary: a secret in a core dump is found",
  ignore: !HAS_PRLIMIT || !DUMPS_HERE,
  async fn() {
    const secret = newTokenCanary();
    const folder = await Deno.makeTempDir();
    try {
      await new Deno.Command("sh", {
        args: ["-c", "ulimit -c unlimited && kill -ABRT $$"],
        cwd: folder,
        env: { LEAKED: secret },
        stdin: "null",
        stderr: "null",
      }).output();
      const detector = new CanaryDetector({ secret });
      const found = filesBelow([folder]).filter(({ text }) => detector.find(text).length > 0);
      strictEqual(found.length, 1);
      ok(found[0]?.path.startsWith(join(folder, "core")));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
