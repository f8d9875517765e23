/**
 * Delivers a credential to one mount: to the running nydusd (v2 API, with read-back) and to its
 * configuration file. It knows neither stores nor schedules.
 *
 * @module
 */
export { Deliverer, inUseDelayMs } from "./deliverer.ts";
