/**
 * Verifies credentials against registries, and selects one of several candidates.
 *
 * @module
 */
export {
  CandidateSelector,
  type ScoredCandidate,
  type Selection,
  type SelectionRequest,
} from "./candidate_selector.ts";
export { defaultProbeTarget, RegistryProbe } from "./probe.ts";
export type { Verify } from "./selection_rules.ts";
