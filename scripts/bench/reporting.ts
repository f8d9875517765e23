import type { AgentStatus, Clock, Observer } from "../../lib/model/mod.ts";
import { AgentMetrics, createLog, fanOut } from "../../lib/observability/mod.ts";

/** What only a program that serves knows of itself. */
export type NodeStatus = Omit<AgentStatus, "version" | "startedAtMs" | "configHash">;

/** A log and metrics as an agent has them; what is written goes nowhere. */
export interface Reporting {
  readonly log: Observer;
  readonly metrics: AgentMetrics;
  /** Hears of everything for both. */
  readonly observer: Observer;
}

/** @param nodeStatus What the metrics of a node are read from. */
export function openReporting(nodeStatus: () => NodeStatus, clock: Clock): Reporting {
  const log = createLog({
    write() {},
    level: "info",
    format: "json",
    now: () => clock.wallMs(),
  });
  const process = { residentMemoryBytes: () => 0, startedAtMs: 0 };
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
