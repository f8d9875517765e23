/**
 * Composition root: builds, starts, reloads and stops the agent. It contains no credential logic.
 *
 * Read `run.ts` (startup, reload), `agent.ts` (the reconciler and its stages) and `chain.ts` (the
 * providers) in this order.
 *
 * @module
 */
export { attemptText } from "./api_backend.ts";
export { dockerConfigPath, openChain } from "./chain.ts";
export { findKubelet, flagOf } from "./check_host.ts";
export { addressOf, runChecks } from "./checks.ts";
export { isSwitchedOff, offMarker } from "./cri_proxy.ts";
export {
  type ExplainedCandidate,
  type ExplainedLocation,
  type ExplainedProvider,
  explainImage,
  type Explanation,
} from "./explanation.ts";
export { run } from "./run.ts";
