import { dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { listensOn, pointLink, readLink, removeFile } from "../platform/mod.ts";
import type { FileSystem } from "../model/mod.ts";

/** What the CRI proxy is configured with. */
export type CriConfig = AgentConfig["providers"]["cri"];

/** A CRI proxy whose link can be switched. */
export type LinkedCriProxy = CriConfig & { readonly link: string };

/** How things stand with the link. */
export interface CriProxyPath {
  /** Someone stepped out of the path, and has not gone back. */
  readonly isOut: boolean;
  readonly linkTarget: string | undefined;
  readonly serves: boolean;
}

/**
 * The mark that keeps an agent out of the path, beside the link: it outlives restarts of the agent
 * as the link does, and is gone with a reboot.
 */
export function disabledMarker(link: string): string {
  return join(dirname(link), "cri-proxy-off");
}

/** Where the CRI proxy keeps what pulls showed over a restart. */
export function pullCachePath(socket: string): string {
  return join(dirname(socket), "cri-pulls.json");
}

/** Whether someone has stepped out of the path. */
export async function isOut(files: FileSystem, link: string | undefined): Promise<boolean> {
  return link !== undefined && await files.stat(disabledMarker(link)) !== undefined;
}

/** Looks at the link, the mark and the CRI proxy's socket. */
export async function readPathState(
  files: FileSystem,
  criProxy: LinkedCriProxy,
): Promise<CriProxyPath> {
  return {
    isOut: await isOut(files, criProxy.link),
    linkTarget: await readLink(criProxy.link),
    serves: await listensOn(criProxy.socket),
  };
}

/**
 * Takes the CRI proxy out of the path: from the next connection on, clients reach the runtime itself.
 *
 * @throws {AgentError} `io` when the mark or the link cannot be set.
 */
export async function stepOut(files: FileSystem, criProxy: LinkedCriProxy): Promise<void> {
  // The mark first: an agent that starts in between must not step in again.
  await files.writeAtomic(disabledMarker(criProxy.link), "nydus-auth-agent cri-proxy off\n", {
    mode: 0o600,
  });
  await pointLink(criProxy.link, criProxy.imageServiceSocket);
}

/**
 * Puts the CRI proxy into the path again. Returns whether it is there: an agent that does not serve steps
 * in when it does.
 *
 * @throws {AgentError} `io` when the mark or the link cannot be set.
 */
export async function stepIn(criProxy: LinkedCriProxy): Promise<boolean> {
  await removeFile(disabledMarker(criProxy.link));
  const serves = await listensOn(criProxy.socket);
  await pointLink(criProxy.link, serves ? criProxy.socket : criProxy.imageServiceSocket);
  return serves;
}
