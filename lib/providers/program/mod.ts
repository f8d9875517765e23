/**
 * Programs that return credentials: execution, single flight, cache and backoff of the kubelet's
 * plugins and of docker's credential helpers.
 *
 * @module
 */
export {
  CachedProgram,
  failedOutcome,
  noCredential,
  type ProgramOutcome,
} from "./cached_program.ts";
export {
  CALLED_BY_AGENT,
  execute,
  type ExecutionOptions,
  findExecutable,
  MAX_STDOUT_BYTES,
  processProblem,
  type ProgramFailure,
  type ProgramResult,
} from "./execution.ts";
export type { CacheKeyType, ProgramAuth, ProgramResponse } from "./response_cache.ts";
