import { isSwitchedOff, offMarker } from "../agent/mod.ts";
import { type AgentConfig, loadConfig } from "../config/mod.ts";
import { AgentError, EXIT, printable } from "../model/mod.ts";
import { listensOn, pointLink, readLink, removeFile } from "../platform/mod.ts";
import { type CommandCall, type OutputFormat, printJson } from "./options.ts";

/**
 * `cri-proxy on|off|status`: routes pulls through the CRI proxy or past it, or prints where they
 * go. Connections that are open stay as they are. `on` points the link to the container runtime
 * until an agent serves. `status` returns exit code 1 when pulls do not go where configured.
 *
 * @throws {AgentError} `usage` without a link; `io` when it cannot be changed.
 */
export async function criProxy(
  { context, flags, args: [action], options: { output } }: CommandCall<
    { readonly output: OutputFormat }
  >,
): Promise<number> {
  const { host, files } = context;
  const { providers } = await loadConfig(context, flags);
  const { socket, imageServiceSocket, enabled, link } = providers.cri;
  if (link === undefined) {
    const reason = "providers.cri.link is off, so there is no link to switch";
    throw new AgentError("usage", `cri-proxy ${action}: ${reason}`);
  }
  const print = (text: string, rest: object = {}) => {
    if (output === "json") printJson(context, { link, text, ...rest });
    else host.out(`${printable(text)}\n`);
  };
  if (action === "status") {
    const isOff = await isSwitchedOff(files, link);
    const state = { isOff, target: await readLink(link), isServing: await listensOn(socket) };
    const { text, isExpected } = describeLinkState(providers.cri, state);
    print(text, { isExpected, ...state });
    return isExpected ? EXIT.ok : EXIT.failed;
  }
  if (action === "off") {
    // The marker comes first: an agent that starts in between must not move the link back.
    await files.writeAtomic(offMarker(link), "nydus-auth-agent cri-proxy off\n", { mode: 0o600 });
    await pointLink(link, imageServiceSocket);
    print(
      `${link} points to ${imageServiceSocket}; new connections bypass the agent until ` +
        "`cri-proxy on` or a reboot, existing ones stay open",
    );
    return EXIT.ok;
  }
  if (!enabled) {
    const remedy = "set providers.cri.enabled, and reload the agent";
    throw new AgentError("usage", `cri-proxy on: the CRI proxy is not enabled; ${remedy}`);
  }
  await removeFile(offMarker(link));
  const isServing = await listensOn(socket);
  await pointLink(link, isServing ? socket : imageServiceSocket);
  print(
    isServing
      ? `${link} points to the agent; new connections use it`
      : `no agent serves now: ${link} points to ${imageServiceSocket} until one starts`,
  );
  return EXIT.ok;
}

/**
 * Describes where pulls go, and returns whether that is as configured.
 *
 * @param state Whether `cri-proxy off` is in effect, where the link points to, and whether the
 * agent serves.
 */
export function describeLinkState(
  { link, socket, enabled, imageServiceSocket }: AgentConfig["providers"]["cri"],
  { isOff, target, isServing }: {
    readonly isOff: boolean;
    readonly target: string | undefined;
    readonly isServing: boolean;
  },
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
