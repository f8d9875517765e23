/**
 * Queries a registry about credentials, and selects one among several candidates.
 *
 * @module
 */
export {
  CandidateSelector,
  type CandidateSelectorOptions,
  type ScoredCandidate,
  type Selection,
  type SelectionRequest,
} from "./candidate_selector.ts";
export { RegistryProbe, type RegistryProbeOptions } from "./probe.ts";
export type { SelectionReason, Verify } from "./selection_rules.ts";
export { defaultProbeTarget } from "./target.ts";
