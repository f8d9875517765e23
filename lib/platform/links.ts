import { basename, dirname, join } from "@std/path";
import { AgentError } from "../model/mod.ts";
import { systemReason } from "./system_reason.ts";

/**
 * Makes a symbolic link point elsewhere in one step: at no moment is it missing.
 *
 * @throws {AgentError} `io` when something else than a link is in its place, or it may not be made.
 */
export async function pointLink(link: string, target: string): Promise<void> {
  try {
    const there = await Deno.lstat(link).catch(() => undefined);
    if (there !== undefined && !there.isSymlink) {
      throw new AgentError("io", `point ${link} at ${target}: it is there and no symbolic link`);
    }
    const next = join(dirname(link), `.${basename(link)}.${crypto.randomUUID().slice(0, 8)}`);
    await Deno.symlink(target, next);
    await Deno.rename(next, link);
  } catch (error) {
    if (error instanceof AgentError) throw error;
    // The system's own text names the temporary link: another one each time, so a new problem.
    throw new AgentError("io", `point ${link} at ${target}: ${systemReason(error)}`);
  }
}

/** Where a symbolic link leads; undefined when there is none, or something else. */
export async function readLink(link: string): Promise<string | undefined> {
  return await Deno.readLink(link).catch(() => undefined);
}

/**
 * Removes a file that may not be there.
 *
 * @throws {AgentError} `io` when it stays.
 */
export async function removeFile(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new AgentError("io", `remove ${path}: ${systemReason(error)}`);
  }
}

/** Whether a process listens on a unix socket. */
export async function listensOn(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
}
