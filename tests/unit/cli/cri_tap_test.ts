import { equal } from "node:assert/strict";
import { isInMemory } from "../../../lib/cli/cri_tap.ts";

const MOUNTS = [
  "22 1 254:0 / / rw,relatime - ext4 /dev/root rw",
  "25 22 0:22 / /run rw,nosuid - tmpfs tmpfs rw,mode=755",
  "30 25 0:40 / /run/on\\040disk rw - ext4 /dev/vdb rw",
  "31 22 0:41 / /var/run2 rw shared:5 master:1 - ramfs none rw",
].join("\n");

Deno.test("isInMemory goes by the deepest mount that holds the path", () => {
  equal(isInMemory(MOUNTS, "/run/agent/cri-pulls.json"), true);
  equal(isInMemory(MOUNTS, "/run/on disk/cri-pulls.json"), false);
  equal(isInMemory(MOUNTS, "/var/run2/x"), true);
  equal(isInMemory(MOUNTS, "/runaway/x"), false);
  equal(isInMemory("", "/run/x"), false);
  const hidden = `${MOUNTS}\n40 22 0:50 / /run rw - ext4 /dev/vdc rw`;
  equal(isInMemory(hidden, "/run/agent/x"), false, "what was mounted over it hides it");
});
