import type { AgentStatus, Clock, Observer } from "../../lib/model/mod.ts";
import { AgentMetrics, createLog, fanOut } from "../../lib/observability/mod.ts";

/** The status without the fields of a running agent process. */
export type NodeStatus = Omit<AgentStatus, "version" | "startedAtMs" | "configHash">;

/** The agent's log and metrics; log output is discarded. */
export interface Reporting {
  readonly log: Observer;
  readonly metrics: AgentMetrics;
  /** Forwards every event to both. */
  readonly observer: Observer;
}

/** Creates the log and the metrics; node metrics are read from `nodeStatus`. */
export function openReporting(nodeStatus: () => NodeStatus, clock: Clock): Reporting {
  const log = createLog({
    write() {},
    level: "info",
    format: "json",
    now: () => clock.wallMs(),
  });
  const process = {
    residentBytes: () => 0,
    cpuSeconds: () => 0,
    openDescriptors: () => Promise.resolve(0),
    descriptorLimit: () => Promise.resolve(1_024),
  };
  const build = { version: "bench", commit: "", deno: Deno.version.deno };
  const status = () => ({
    ...nodeStatus(),
    version: "bench",
    startedAtMs: 0,
    configHash: "bench",
  });
  const metrics = new AgentMetrics({ status, build, now: () => clock.wallMs(), process });
  return { log, metrics, observer: fanOut([log, metrics]) };
}
