import { type CriProxyStatus, formatDuration } from "../model/mod.ts";
import type { Finding } from "./finding.ts";

/** A kubelet keeps its connection, and lists images about every 20 seconds. */
const IDLE_MS = 2 * 60_000;

/** What is wrong with the CRI proxy. */
export function criProxyFindings(
  criProxy: CriProxyStatus | undefined,
  nowMs: number,
): readonly Finding[] {
  const about = { area: "cri-proxy", level: "warning", key: "cri-proxy" } as const;
  if (criProxy === undefined) return [];
  switch (criProxy.state) {
    case "switched-off":
      return [];
    case "not-serving": {
      const why = criProxy.detail === undefined ? "" : `: ${criProxy.detail}`;
      const text = `CRI pulls are not seen, the CRI proxy does not serve${why}`;
      return [{ ...about, text, remedy: "mend that and reload the agent" }];
    }
    case "bypassed": {
      const where = criProxy.linkTarget === undefined
        ? "is not there"
        : `leads to ${criProxy.linkTarget}`;
      const text = `CRI pulls are not seen: ${criProxy.link} ${where}, not to ${criProxy.socket}`;
      return [{ ...about, text, remedy: "run: nydus-auth-agent cri-proxy on" }];
    }
    case "in-path": {
      const idleMs = nowMs - (criProxy.idleSinceMs ?? nowMs);
      if (idleMs < IDLE_MS) return [];
      const restored = criProxy.restoredImages === 0
        ? ""
        : `; ${criProxy.restoredImages} images were pulled through it before the agent's last ` +
          "restart, so the kubelet is probably connected to the container runtime itself";
      const text = "CRI pulls are not seen: no client has been connected to the CRI proxy for " +
        `${formatDuration(idleMs)}${restored}`;
      const remedy = "restart the kubelet; if that does not help, check that its image service " +
        `endpoint is unix://${criProxy.link ?? criProxy.socket}`;
      return [{ ...about, text, reportedSinceMs: true, remedy }];
    }
    default:
      return criProxy.state satisfies never;
  }
}
