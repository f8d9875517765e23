import { dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { listensOn, pointLink, readLink, removeFile } from "../platform/mod.ts";
import type { FileSystem } from "../model/mod.ts";

/** Configuration of the CRI proxy. */
export type CriConfig = AgentConfig["providers"]["cri"];

/** Configuration of a CRI proxy that clients reach through a symlink. */
export type LinkedCriProxy = CriConfig & { readonly link: string };

/** State of the symlink that clients connect to. */
export interface CriLinkState {
  /** Whether `cri-proxy off` was run, and `cri-proxy on` was not run since. */
  readonly isOff: boolean;
  /** Undefined when there is no link. */
  readonly target: string | undefined;
  /** Whether something listens on the socket of the CRI proxy. */
  readonly isServing: boolean;
}

/**
 * Returns the path of the file that keeps an agent from using the link. Like the link it survives
 * restarts of the agent, and a reboot removes it.
 */
function offMarker(link: string): string {
  return join(dirname(link), "cri-proxy-off");
}

/** Returns the path of the pull credentials that are kept over a restart of the agent. */
export function pullCachePath(socket: string): string {
  return join(dirname(socket), "cri-pulls.json");
}

/** Returns whether `cri-proxy off` is in effect. */
export async function isSwitchedOff(files: FileSystem, link: string | undefined): Promise<boolean> {
  return link !== undefined && await files.stat(offMarker(link)) !== undefined;
}

/** Reads the state of the link. */
export async function readLinkState(
  files: FileSystem,
  { link, socket }: LinkedCriProxy,
): Promise<CriLinkState> {
  return {
    isOff: await isSwitchedOff(files, link),
    target: await readLink(link),
    isServing: await listensOn(socket),
  };
}

/**
 * Points the link to the container runtime. Existing connections through the proxy stay open.
 *
 * @throws {AgentError} `io` when the marker or the link cannot be written.
 */
export async function switchOff(
  files: FileSystem,
  { link, imageServiceSocket }: LinkedCriProxy,
): Promise<void> {
  // The marker comes first: an agent that starts in between must not move the link back.
  await files.writeAtomic(offMarker(link), "nydus-auth-agent cri-proxy off\n", { mode: 0o600 });
  await pointLink(link, imageServiceSocket);
}

/**
 * Points the link to the CRI proxy, or to the container runtime until an agent serves. Returns
 * whether one serves now.
 *
 * @throws {AgentError} `io` when the marker or the link cannot be written.
 */
export async function switchOn(
  { link, socket, imageServiceSocket }: LinkedCriProxy,
): Promise<boolean> {
  await removeFile(offMarker(link));
  const isServing = await listensOn(socket);
  await pointLink(link, isServing ? socket : imageServiceSocket);
  return isServing;
}

/** Describes where pulls go, and returns whether that is as configured. */
export function describeLinkState(
  { link, socket, enabled, imageServiceSocket }: LinkedCriProxy,
  { isOff, target, isServing }: CriLinkState,
): { readonly text: string; readonly isExpected: boolean } {
  if (target === undefined) {
    return { text: `${link} does not exist: its clients cannot connect`, isExpected: false };
  }
  if (target === socket && isServing) {
    return { text: `in the path: ${link} points to the agent`, isExpected: !isOff && enabled };
  }
  if (target === socket) {
    const text = `${link} points to ${socket}, where nothing listens: the agent is restarting; ` +
      "if it does not come back, run `nydus-auth-agent cri-proxy off`";
    return { text, isExpected: false };
  }
  const bypass = `out of the path: ${link} points to ${target}`;
  if (target !== imageServiceSocket) {
    return { text: `${bypass}, not to ${imageServiceSocket}`, isExpected: false };
  }
  if (isOff) return { text: `${bypass}, set by \`cri-proxy off\``, isExpected: true };
  if (!enabled) return { text: `${bypass}; the CRI proxy is not enabled`, isExpected: true };
  if (!isServing) return { text: `${bypass}; no agent serves`, isExpected: false };
  const text = `${bypass} although the agent serves: run \`nydus-auth-agent cri-proxy on\``;
  return { text, isExpected: false };
}
