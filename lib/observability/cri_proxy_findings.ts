import { formatDuration, type TapStatus } from "../model/mod.ts";
import type { Finding } from "./finding.ts";

/** A kubelet keeps its connection, and lists images about every 20 seconds. */
const IDLE_MS = 2 * 60_000;

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
      const idleMs = nowMs - (tap.idleSinceMs ?? nowMs);
      if (idleMs < IDLE_MS) return [];
      const restored = tap.restoredImages === 0
        ? ""
        : `; ${tap.restoredImages} images were pulled through it before the agent's last ` +
          "restart, so the kubelet is probably connected to the container runtime itself";
      const text = "CRI pulls are not seen: no client has been connected to the CRI proxy for " +
        `${formatDuration(idleMs)}${restored}`;
      const mend = "restart the kubelet; if that does not help, check that its image service " +
        `endpoint is unix://${tap.link ?? tap.socket}`;
      return [{ ...about, text, tellsSince: true, mend }];
    }
    default:
      return tap.state satisfies never;
  }
}
