/**
 * Composition root: builds, starts, reloads and stops the agent. Commands call it; it decides nothing about
 * credentials itself.
 *
 * @module
 */
export { dockerConfigPath, openChain } from "./chain.ts";
export {
  type CriProxyPath,
  type LinkedCriProxy,
  readPathState,
  stepIn,
  stepOut,
} from "./cri_proxy_link.ts";
export {
  type ExplainedCandidate,
  type ExplainedProvider,
  explainImage,
  type Explanation,
  type LocationExplanation,
} from "./explanation.ts";
export { kubeParts } from "./kubernetes_parts.ts";
export { groupId } from "./served_api.ts";
export { run } from "./run.ts";
