import { type Candidate, type CredentialRequest } from "./provider.ts";
import { type Clock } from "./ports.ts";
import { credentialFingerprint } from "./credential.ts";

/**
 * One round of questions. So long serves an answer that says "do not cache" (or next to it), or
 * that there is nothing: callers of one round share it.
 */
export const SHARED_EXECUTION_MS = 10_000;

/** Whether an answer to a question put at `fetchedAtMs` (wall) is as new as a request wants it. */
export function isNewEnough(
  fetchedAtMs: number,
  { newerThanMs }: CredentialRequest,
  clock: Clock,
): boolean {
  if (newerThanMs === undefined) return true;
  const nowMs = clock.wallMs();
  // A time to come means that the wall clock was set back: nothing could ever be newer.
  return fetchedAtMs > (newerThanMs > nowMs ? nowMs - SHARED_EXECUTION_MS : newerThanMs);
}

/** Whether a kept credential is the very one that was refused: then it is no answer. */
export function isRefused(
  { credential }: Pick<Candidate, "credential">,
  { refused }: CredentialRequest,
): boolean {
  return refused !== undefined && credentialFingerprint(credential) === refused.fingerprint;
}
