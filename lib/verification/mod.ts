/**
 * Queries a registry about credentials, and selects one among several candidates.
 *
 * @module
 */
export {
  type Contender,
  type Election,
  type ElectionRequest,
  Elector,
  type ElectorOptions,
} from "./candidate_selector.ts";
export { RegistryProbe, type RegistryProbeOptions } from "./probe.ts";
export type { ElectionReason, Verify } from "./selection_rules.ts";
export { defaultProbeTarget } from "./target.ts";
