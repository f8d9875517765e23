import { formatDuration, type TapStatus } from "../model/mod.ts";
import type { Finding } from "./finding.ts";

/** So long nobody needs to have pulled anything; a kubelet asks its runtime far more often. */
const NOBODY_CAME_MS = 15 * 60_000;

/** What is wrong with the CRI tap. */
export function tapFindings(tap: TapStatus | undefined, nowMs: number): readonly Finding[] {
  const about = { area: "tap", level: "warning", key: "tap" } as const;
  if (tap === undefined) return [];
  switch (tap.state) {
    case "stepped-out":
      return [];
    case "not-serving": {
      const why = tap.detail === undefined ? "" : `: ${tap.detail}`;
      const text = `CRI pulls are not seen, the tap does not serve${why}`;
      return [{ ...about, text, mend: "mend that and reload the agent" }];
    }
    case "bypassed": {
      const where = tap.leadsTo === undefined ? "is not there" : `leads to ${tap.leadsTo}`;
      const text = `CRI pulls are not seen: ${tap.link} ${where}, not to ${tap.socket}`;
      return [{ ...about, text, mend: "run: nydus-auth-agent tap on" }];
    }
    case "in-path": {
      const forMs = nowMs - (tap.servingSinceMs ?? nowMs);
      if (tap.connections > 0 || forMs < NOBODY_CAME_MS) return [];
      const text = `CRI pulls are not seen: nobody has connected for ${formatDuration(forMs)}`;
      const mend = `give ${tap.link ?? tap.socket} to the kubelet as image service endpoint; one ` +
        "that has it connected while the agent was away: restart the kubelet";
      return [{ ...about, text, tellsSince: true, mend }];
    }
    default:
      return tap.state satisfies never;
  }
}
