/**
 * The local API on the unix socket: credential lookups, pushed credentials, status.
 *
 * @module
 */
export {
  type ApiAgent,
  type ApiCredential,
  type ApiLifetime,
  type ApiLogLevel,
  type ApiLookup,
  type ApiPut,
  type ApiRenewed,
  type ApiTarget,
  loadApi,
} from "./port.ts";
