import { type AgentConfig } from "../config/mod.ts";
import { AgentError } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadConfig } from "../config/mod.ts";
import { printable } from "./table.ts";
import {
  type CriProxyPath,
  type LinkedCriProxy,
  readPathState,
  stepIn,
  stepOut,
} from "../agent/mod.ts";

/** What `cri-proxy` can be told. */
export const CRI_PROXY_ACTIONS = ["on", "off", "status"] as const;

/**
 * `cri-proxy on|off|status`: puts the CRI proxy into the path of pulls, takes it out, or tells where it
 * stands. Exit code 1 when the CRI proxy is not where it was meant to be.
 */
export async function criProxy(context: Context, flags: Flags, action: string): Promise<number> {
  const linked = linkedCriProxy(await loadConfig(context, flags), action);
  switch (action) {
    case "on": {
      const serves = await stepIn(linked);
      context.host.out(
        serves
          ? `${linked.link} leads to the agent, from the next connection on\n`
          : "no agent serves now: one that starts will take the pulls; until then they go " +
            `straight to ${linked.imageServiceSocket}\n`,
      );
      return EXIT.ok;
    }
    case "off":
      await stepOut(context.files, linked);
      context.host.out(
        `${linked.link} leads to ${linked.imageServiceSocket}, from the next connection on, ` +
          'until "cri-proxy on" or a reboot; those that pass the agent now do so until they end\n',
      );
      return EXIT.ok;
    case "status": {
      const path = await readPathState(context.files, linked);
      const { text, isRight } = pathText(linked, path);
      context.host.out(`${printable(text)}\n`);
      return isRight ? EXIT.ok : EXIT.failed;
    }
    default:
      throw new AgentError(
        "usage",
        `CRI proxy ${action}: one of ${CRI_PROXY_ACTIONS.join(", ")} is wanted`,
      );
  }
}

/** The CRI proxy that the configuration describes, where it can be switched. */
function linkedCriProxy({ providers: { cri } }: AgentConfig, action: string): LinkedCriProxy {
  const { link, enabled } = cri;
  if (link === undefined) {
    const why = "providers.cri.link is off, so nothing is switched";
    throw new AgentError("usage", `CRI proxy ${action}: ${why}`);
  }
  if (!enabled && action === "on") {
    const why = "the configuration does not enable it; set providers.cri.enabled, and reload";
    throw new AgentError("usage", `cri-proxy on: ${why}`);
  }
  return { ...cri, link };
}

/** Where pulls go, and whether that is as it was meant. */
function pathText(
  { link, socket, enabled, imageServiceSocket }: LinkedCriProxy,
  { isOut, linkTarget, serves }: CriProxyPath,
): { readonly text: string; readonly isRight: boolean } {
  if (linkTarget === undefined) {
    return { text: `${link} is not there: its clients reach nobody`, isRight: false };
  }
  if (linkTarget === socket) {
    return serves
      ? { text: `in the path: ${link} leads to the agent`, isRight: !isOut && enabled }
      : {
        text: `${link} leads to ${socket}, where nobody listens: the agent is restarting; if it ` +
          "does not come back, run cri-proxy off",
        isRight: false,
      };
  }
  const straight = `out of the path: ${link} leads to ${linkTarget}`;
  if (linkTarget !== imageServiceSocket) {
    return { text: `${straight}, not to ${imageServiceSocket}`, isRight: false };
  }
  if (isOut) return { text: `${straight}, by "cri-proxy off"`, isRight: true };
  if (!enabled) return { text: `${straight}, the CRI proxy is not enabled`, isRight: true };
  if (!serves) return { text: `${straight}, no agent serves`, isRight: false };
  return { text: `${straight} although the agent serves: run cri-proxy on`, isRight: false };
}
