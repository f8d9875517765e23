import { equal, rejects } from "node:assert/strict";
import { isMemoryBacked } from "../../../lib/platform/memory_backed.ts";

Deno.test("isMemoryBacked tells memory from other file systems", async () => {
  equal(await isMemoryBacked("/dev/shm"), true);
  equal(await isMemoryBacked("/proc"), false);
  await rejects(isMemoryBacked("/proc/no/such/folder"), { code: "ENOENT" });
});
