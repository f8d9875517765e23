/**
 * A credential for one mount, in nydusd's memory and in its file. Delivery is a room of its own so
 * that it knows neither stores nor schedules: it is told what to bring where, and says what became
 * of it.
 *
 * @module
 */
export { rewriteConfigText, type RewriteOutcome } from "./config_text.ts";
export { Deliverer, type DelivererOptions } from "./deliverer.ts";
export { IN_USE_DELAYS, type InUseDelay, inUseDelayMs } from "./versions.ts";
