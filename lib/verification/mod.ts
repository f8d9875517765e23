/**
 * Verifies credentials against registries, and selects one of several candidates.
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
export { defaultProbeTarget, RegistryProbe, type RegistryProbeOptions } from "./probe.ts";
export type { SelectionReason, Verify } from "./selection_rules.ts";
