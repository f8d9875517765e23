/**
 * Metrics, logs, health and the status page. The package observes events through `Observer` and
 * reads the status on request, so that no other package depends on it.
 *
 * @module
 */
import type { Hono } from "hono";
import type { AppOptions } from "./app.ts";

export { criProxyProblem, imageLabel } from "./problems.ts";
export {
  type HealthLevel,
  healthOf,
  healthSchema,
  HealthTracker,
  type HealthView,
} from "./health.ts";
export { ImageHistory, ProviderStats } from "./history.ts";
export {
  earlierCredentialUse,
  HEALTH_STATES,
  type ImageView,
  imageViews,
  mountLevel,
} from "./image_view.ts";
export { createLog, fanOut, type Log } from "./log.ts";
export { LOG_EVENTS, type LogEventName, type LogLevel } from "./log_lines.ts";
export { AgentMetrics } from "./metrics.ts";
export {
  documentSchema,
  type NodeStatus,
  withTextTimes,
  withTimesInMs,
} from "./status_document.ts";
export { redact, redactText } from "./redact.ts";

/** Creates the HTTP application. Its code is loaded only by an agent with an HTTP server. */
export async function openApp(options: AppOptions): Promise<Hono> {
  const { createApp } = await import("./app.ts");
  return createApp(options);
}
