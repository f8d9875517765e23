import { join } from "@std/path";
import { pause } from "../e2e/stage.ts";
import { type Fault, fault, NOTHING } from "./fault.ts";
import { type FaultStage, run } from "./stage.ts";

const REWRITTEN_MS = 3_000;
const MAX_PER_BATCH = 20;

/** Faults of the disk with the daemons' configuration files. */
const disks: readonly Fault[] = [
  fault("the disk is full", 4_000, async ({ node, isSmallDisk }) => {
    if (!isSmallDisk) return;
    const path = join(node.root, "config", "filler");
    await run("dd", "if=/dev/zero", `of=${path}`, "bs=4k");
    return () => Deno.remove(path);
  }),
  fault("the disk is read-only", 4_000, async ({ node, isSmallDisk }) => {
    if (!isSmallDisk) return;
    const path = join(node.root, "config");
    if (await run("mount", "-o", "remount,ro", path) !== 0) return;
    return async () => void await run("mount", "-o", "remount,rw", path);
  }),
  fault("the disk has no inodes left", 4_000, async ({ node, isSmallDisk }) => {
    if (!isSmallDisk) return;
    const folder = join(node.root, "config", "many");
    await Deno.mkdir(folder);
    for (let i = 0; i < 100; i++) {
      const made = await Deno.writeTextFile(join(folder, String(i)), "").then(
        () => true,
        () => false,
      );
      if (!made) break;
    }
    return () => Deno.remove(folder, { recursive: true });
  }),
];

type Make = (path: string) => Promise<unknown>;

const REPLACEMENTS: readonly (readonly [string, Make])[] = [
  ["a folder", (path) => Deno.mkdir(path)],
  ["a link", (path) => Deno.symlink("/nowhere/else", path)],
  ["a pipe", (path) => run("mkfifo", path)],
  ["half a file", (path) => Deno.writeTextFile(path, '{"device": {"back')],
];

/** Replaces a file with something else; the remedy restores it. */
function replaced(
  replacement: string,
  file: string,
  pathOf: (stage: FaultStage) => string,
  make: Make,
  more: Pick<Fault, "changesFiles" | "keepsPassword"> = {},
): Fault {
  return fault(`${replacement} in place of ${file}`, 3_000, async (stage) => {
    const path = pathOf(stage);
    const aside = join(stage.node.dir, "aside");
    await Deno.copyFile(path, aside);
    await Deno.remove(path);
    await make(path);
    return async () => {
      await Deno.remove(path, { recursive: true });
      await Deno.copyFile(aside, `${path}.new`);
      await Deno.chmod(`${path}.new`, 0o600);
      await Deno.rename(`${path}.new`, path);
    };
  }, more);
}

const daemonFile = (stage: FaultStage) => stage.daemon("d1").instances[0]?.configPath ?? "";

/** Replacements of a daemon's configuration file. */
const daemonFiles: readonly Fault[] = [
  ...REPLACEMENTS.map(([what, make]) =>
    replaced(what, "a daemon's file", daemonFile, make, { changesFiles: true })
  ),
  fault("another user's file in place of a daemon's file", 3_000, async (stage) => {
    const path = daemonFile(stage);
    const { uid, gid } = await Deno.stat(path);
    // Only root may change the owner.
    const isChanged = await Deno.chown(path, 65_534, 65_534).then(() => true, () => false);
    if (!isChanged) return;
    return async () => {
      const now = await Deno.stat(path);
      if (now.uid !== 65_534) throw new Error("the agent changed the owner of the file");
      await Deno.chown(path, uid, gid);
    };
  }),
];

const sources: readonly Fault[] = [
  ...REPLACEMENTS.flatMap(([what, make]) => [
    replaced(what, "docker's configuration", ({ node }) => node.dockerConfigPath, make, {
      keepsPassword: true,
    }),
    replaced(what, "the plugins' configuration", ({ node }) => node.providerConfigPath, make),
  ]),
  fault("docker's configuration is rewritten 1,000 times a second", 0, async (stage) => {
    const startedMs = performance.now();
    const elapsedMs = () => performance.now() - startedMs;
    // One per millisecond. A slow disk must not block the event loop, where the readers run.
    for (let written = 0; elapsedMs() < REWRITTEN_MS; await pause(1)) {
      const due = Math.min(elapsedMs() - written, MAX_PER_BATCH);
      for (let i = 0; i < due; i++) stage.rotatePassword();
      written += Math.max(0, due);
    }
    return NOTHING;
  }),
];

/** Faults of disks and files. */
export const FILE_FAULTS: readonly Fault[] = [...disks, ...daemonFiles, ...sources];
