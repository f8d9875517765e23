import {
  describeLinkState,
  type LinkedCriProxy,
  readLinkState,
  switchOff,
  switchOn,
} from "../agent/mod.ts";
import { type AgentConfig, type Flags, loadConfig } from "../config/mod.ts";
import { AgentError, EXIT } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { printable } from "./terminal_text.ts";

/** Actions of `cri-proxy`. */
export const CRI_PROXY_ACTIONS = ["on", "off", "status"] as const;

/**
 * `cri-proxy on|off|status`: routes pulls through the CRI proxy or past it, or prints where they
 * go. `status` returns exit code 1 when that is not as configured.
 */
export async function criProxy(
  context: Context,
  flags: Flags,
  action: typeof CRI_PROXY_ACTIONS[number],
): Promise<number> {
  const { host, files } = context;
  const linked = linkedCriProxy(await loadConfig(context, flags), action);
  const { link, imageServiceSocket } = linked;
  switch (action) {
    case "on": {
      const isServing = await switchOn(linked);
      host.out(
        isServing
          ? `${link} points to the agent; new connections use it\n`
          : `no agent serves now: ${link} points to ${imageServiceSocket} until one starts\n`,
      );
      return EXIT.ok;
    }
    case "off":
      await switchOff(files, linked);
      host.out(
        `${link} points to ${imageServiceSocket}; new connections bypass the agent until ` +
          "`cri-proxy on` or a reboot, existing ones stay open\n",
      );
      return EXIT.ok;
    case "status": {
      const state = await readLinkState(files, linked);
      const { text, isExpected } = describeLinkState(linked, state);
      host.out(`${printable(text)}\n`);
      return isExpected ? EXIT.ok : EXIT.failed;
    }
    default:
      return action satisfies never;
  }
}

function linkedCriProxy({ providers: { cri } }: AgentConfig, action: string): LinkedCriProxy {
  const { link, enabled } = cri;
  if (link === undefined) {
    const reason = "providers.cri.link is off, so there is no link to switch";
    throw new AgentError("usage", `cri-proxy ${action}: ${reason}`);
  }
  if (!enabled && action === "on") {
    const remedy = "set providers.cri.enabled, and reload the agent";
    throw new AgentError("usage", `cri-proxy on: the CRI proxy is not enabled; ${remedy}`);
  }
  return { ...cri, link };
}
