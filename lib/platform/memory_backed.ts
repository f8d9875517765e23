import { statfs } from "node:fs/promises";

/** Linux' magic numbers of the file systems that never reach a disk (linux/magic.h). */
const IN_MEMORY: readonly number[] = [0x01021994, /* tmpfs */ 0x858458f6 /* ramfs */];

/**
 * Whether a folder is on a file system that lives in memory. What the kernel may swap out counts as
 * memory; the unit forbids that.
 *
 * @throws {Error} When there is no such folder.
 */
export async function isMemoryBacked(folder: string): Promise<boolean> {
  return IN_MEMORY.includes((await statfs(folder)).type >>> 0);
}
