/**
 * What operators see: metrics, log, health, and a page. The room hears of everything through
 * `Observer` and asks for the state when it is asked itself, so that no stage knows who watches.
 *
 * @module
 */
export { criProxyFindings } from "./cri_proxy_findings.ts";
export { fanOut } from "./fan_out.ts";
export { type HealthCheck, type HealthLevel, healthOf, type HealthView } from "./health.ts";
export { HealthMemory } from "./health_memory.ts";
export { type HistoryEntry, ImageHistory, type ImagePast } from "./image_history.ts";
export { imageLabel } from "./image_label.ts";
export { createLog, type Log, type LogOptions } from "./log.ts";
export { LOG_EVENTS, type LogEventName, type LogThreshold } from "./log_events.ts";
export { type MetricDefinition, METRICS } from "./metric_names.ts";
export {
  AgentMetrics,
  type AgentMetricsOptions,
  type BuildLabels,
  type MetricsPage,
} from "./metrics.ts";
export { type AppOptions, openApp } from "./open_app.ts";
export { HEALTH_STATES, type HealthState, imageViews, mountLevel } from "./page/image_view.ts";
export { ProviderStats } from "./provider_stats.ts";
export { outcomeOf } from "./reasons.ts";
