/**
 * The local API on the unix socket: lookups, pushes, status.
 *
 * @module
 */
export type { ApiOptions } from "./app.ts";
export { openApi } from "./open_api.ts";
export type {
  ApiAgent,
  ApiCredential,
  ApiLifetime,
  ApiLogLevel,
  ApiLookup,
  ApiPut,
  ApiRenewed,
  ApiTarget,
} from "./port.ts";
