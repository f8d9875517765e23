/** `install` of the compiled binary, which is what it copies. */
import { equal, ok } from "node:assert/strict";
import { join } from "node:path";
import { pause } from "./stage.ts";

const BINARY = Deno.env.get("NYDUS_AUTH_AGENT_BINARY");

Deno.test({
  name: "install: a symbolic link swapped in for a temporary file keeps its target's mode",
  ignore: BINARY === undefined,
  async fn() {
    const dir = await Deno.makeTempDir();
    const target = join(dir, "target");
    const bin = join(dir, "root", "usr/local/bin");
    try {
      await Deno.writeTextFile(target, "kept", { mode: 0o600 });
      let swaps = 0;
      for (let tries = 0; tries < 50 && swaps === 0; tries++) {
        await Deno.remove(join(dir, "root"), { recursive: true }).catch(() => {});
        await Deno.mkdir(bin, { recursive: true });
        const args = ["install", "--root", join(dir, "root")];
        const child = new Deno.Command(BINARY ?? "", { args, stdout: "null", stderr: "null" })
          .spawn();
        let ended = false;
        void child.status.then(() => ended = true);
        // While the binary is copied, which takes a while.
        while (!ended && swaps === 0) {
          for await (const { name } of Deno.readDir(bin)) {
            if (!name.endsWith(".tmp")) continue;
            await Deno.remove(join(bin, name));
            await Deno.symlink(target, join(bin, name));
            swaps++;
          }
          await pause(1);
        }
        await child.status;
      }
      ok(swaps > 0, "no temporary file was seen");
      equal(((await Deno.stat(target)).mode ?? 0) & 0o777, 0o600);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
