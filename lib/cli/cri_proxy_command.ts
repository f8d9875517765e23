import { type AgentConfig } from "../config/mod.ts";
import { AgentError } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadConfig } from "../config/mod.ts";
import { printable } from "./table.ts";
import { type LinkedTap, lookAtPath, stepIn, stepOut, type TapPath } from "../agent/mod.ts";

/** What `tap` can be told. */
export const TAP_ACTIONS = ["on", "off", "status"] as const;

/**
 * `tap on|off|status`: puts the CRI tap into the path of pulls, takes it out, or tells where it
 * stands. Exit code 1 when the tap is not where it was meant to be.
 */
export async function tap(context: Context, flags: Flags, action: string): Promise<number> {
  const linked = linkedTap(await loadConfig(context, flags), action);
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
          'until "tap on" or a reboot; those that pass the agent now do so until they end\n',
      );
      return EXIT.ok;
    case "status": {
      const path = await lookAtPath(context.files, linked);
      const { text, isRight } = pathText(linked, path);
      context.host.out(`${printable(text)}\n`);
      return isRight ? EXIT.ok : EXIT.failed;
    }
    default:
      throw new AgentError("usage", `tap ${action}: one of ${TAP_ACTIONS.join(", ")} is wanted`);
  }
}

/** The tap that the configuration describes, where it can be switched. */
function linkedTap({ providers: { cri } }: AgentConfig, action: string): LinkedTap {
  const { link, enabled } = cri;
  if (link === undefined) {
    const why = "providers.cri.link is off, so nothing is switched";
    throw new AgentError("usage", `tap ${action}: ${why}`);
  }
  if (!enabled && action === "on") {
    const why = "the configuration does not enable it; set providers.cri.enabled, and reload";
    throw new AgentError("usage", `tap on: ${why}`);
  }
  return { ...cri, link };
}

/** Where pulls go, and whether that is as it was meant. */
function pathText(
  { link, socket, enabled, imageServiceSocket }: LinkedTap,
  { isOut, leadsTo, serves }: TapPath,
): { readonly text: string; readonly isRight: boolean } {
  if (leadsTo === undefined) {
    return { text: `${link} is not there: its clients reach nobody`, isRight: false };
  }
  if (leadsTo === socket) {
    return serves
      ? { text: `in the path: ${link} leads to the agent`, isRight: !isOut && enabled }
      : {
        text: `${link} leads to ${socket}, where nobody listens: the agent is restarting; if it ` +
          "does not come back, run tap off",
        isRight: false,
      };
  }
  const straight = `out of the path: ${link} leads to ${leadsTo}`;
  if (leadsTo !== imageServiceSocket) {
    return { text: `${straight}, not to ${imageServiceSocket}`, isRight: false };
  }
  if (isOut) return { text: `${straight}, by "tap off"`, isRight: true };
  if (!enabled) return { text: `${straight}, the tap is not enabled`, isRight: true };
  if (!serves) return { text: `${straight}, no agent serves`, isRight: false };
  return { text: `${straight} although the agent serves: run tap on`, isRight: false };
}
