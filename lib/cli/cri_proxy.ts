import {
  describeLinkState,
  type LinkedCriProxy,
  readLinkState,
  switchOff,
  switchOn,
} from "../agent/mod.ts";
import { type AgentConfig, type Flags, loadConfig } from "../config/mod.ts";
import { AgentError, EXIT, printable } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { type OutputFormat, printJson } from "./options.ts";

/**
 * `cri-proxy on|off|status`: routes pulls through the CRI proxy or past it, or prints where they
 * go. `status` returns exit code 1 when that is not as configured.
 */
export async function criProxy(
  context: Context,
  flags: Flags,
  action: "on" | "off" | "status",
  output: OutputFormat,
): Promise<number> {
  const { host, files } = context;
  const print = (text: string, rest: object = {}) => {
    if (output === "json") printJson(context, { link, text, ...rest });
    else host.out(`${printable(text)}\n`);
  };
  const linked = linkedCriProxy(await loadConfig(context, flags), action);
  const { link, imageServiceSocket } = linked;
  switch (action) {
    case "on": {
      const isServing = await switchOn(linked);
      print(
        isServing
          ? `${link} points to the agent; new connections use it`
          : `no agent serves now: ${link} points to ${imageServiceSocket} until one starts`,
      );
      return EXIT.ok;
    }
    case "off":
      await switchOff(files, linked);
      print(
        `${link} points to ${imageServiceSocket}; new connections bypass the agent until ` +
          "`cri-proxy on` or a reboot, existing ones stay open",
      );
      return EXIT.ok;
    case "status": {
      const state = await readLinkState(files, linked);
      const { text, isExpected } = describeLinkState(linked, state);
      print(text, { isExpected, ...state });
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
