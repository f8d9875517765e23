import { dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { listensOn, pointLink, readLink, removeFile } from "../platform/mod.ts";
import type { FileSystem } from "../model/mod.ts";

/** What the tap is configured with. */
export type CriConfig = AgentConfig["providers"]["cri"];

/** A tap whose link can be switched. */
export type LinkedTap = CriConfig & { readonly link: string };

/** How things stand with the link. */
export interface TapPath {
  /** Someone stepped out of the path, and has not gone back. */
  readonly isOut: boolean;
  readonly leadsTo: string | undefined;
  readonly serves: boolean;
}

/**
 * The mark that keeps an agent out of the path, beside the link: it outlives restarts of the agent
 * as the link does, and is gone with a reboot.
 */
export function outMark(link: string): string {
  return join(dirname(link), "tap-off");
}

/** Where the tap keeps what pulls showed over a restart. */
export function keptPulls(socket: string): string {
  return join(dirname(socket), "cri-pulls.json");
}

/** Whether someone has stepped out of the path. */
export async function isOut(files: FileSystem, link: string | undefined): Promise<boolean> {
  return link !== undefined && await files.stat(outMark(link)) !== undefined;
}

/** Looks at the link, the mark and the tap's socket. */
export async function lookAtPath(files: FileSystem, tap: LinkedTap): Promise<TapPath> {
  return {
    isOut: await isOut(files, tap.link),
    leadsTo: await readLink(tap.link),
    serves: await listensOn(tap.socket),
  };
}

/**
 * Takes the tap out of the path: from the next connection on, clients reach the runtime itself.
 *
 * @throws {AgentError} `io` when the mark or the link cannot be set.
 */
export async function stepOut(files: FileSystem, tap: LinkedTap): Promise<void> {
  // The mark first: an agent that starts in between must not step in again.
  await files.writeAtomic(outMark(tap.link), "nydus-auth-agent tap off\n", { mode: 0o600 });
  await pointLink(tap.link, tap.imageServiceSocket);
}

/**
 * Puts the tap into the path again. Returns whether it is there: an agent that does not serve steps
 * in when it does.
 *
 * @throws {AgentError} `io` when the mark or the link cannot be set.
 */
export async function stepIn(tap: LinkedTap): Promise<boolean> {
  await removeFile(outMark(tap.link));
  const serves = await listensOn(tap.socket);
  await pointLink(tap.link, serves ? tap.socket : tap.imageServiceSocket);
  return serves;
}
