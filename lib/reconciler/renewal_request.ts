import {
  type Candidate,
  credentialFingerprint,
  type CredentialRequest,
  type ImageReference,
  type RefusedCredential,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../credentials/mod.ts";

/** Why an entry is asked for, when not because it is due. */
export interface Why {
  /** A source has changed: whatever it says counts. */
  readonly recheck?: boolean;
  /** A credential is refused: hurry, if it still is the current one. */
  readonly refused?: RefusedCredential;
  /** A person wants it, since this moment (monotonic and wall). */
  readonly forced?: { readonly atMs: number; readonly wallMs: number };
}

/** By the clock, only something newer than what we have helps; after a change, anything does. */
export function requestFor(
  entry: StoreEntry,
  { recheck = false, refused, forced }: Why,
  store: Pick<CredentialStore, "window">,
  nowMs: number,
): CredentialRequest {
  const { stored } = entry;
  const window = store.window(entry, nowMs);
  const dueByClock = stored !== undefined && stored.provider !== "adopted" &&
    !(recheck && refused === undefined && (entry.nextAttemptAtMs ?? Infinity) > nowMs);
  const { endpoint, ...image } = entry.image;
  return {
    image,
    ...(endpoint && { endpoint, endpointInUse: stored?.candidate.forEndpoint === true }),
    labels: {},
    ...(dueByClock && { newerThanMs: stored.candidate.fetchedAtMs }),
    // What another image of the same wish brought in this very millisecond is new enough.
    ...(forced && { newerThanMs: forced.wallMs - 1, forcedAtMs: forced.atMs }),
    ...((refused !== undefined || window === "mandatory" || window === "expired") &&
      { urgent: true }),
    ...((stored === undefined || stored.provider === "adopted") && { waiting: true }),
    ...(refused && { refused }),
  };
}

/** Past caches and backoff, because the registry refuses what a source has kept. */
export function newerThan({ credential, fetchedAtMs }: Candidate) {
  const refused = { fingerprint: credentialFingerprint(credential) };
  return { newerThanMs: fetchedAtMs, urgent: true, refused };
}

/** What of a reason still holds: a credential that was replaced meanwhile is not refused again. */
export function stillTrue({ refused, ...others }: Why, { stored }: StoreEntry): Why | undefined {
  if (refused === undefined) return others;
  if (refused.fingerprint === stored?.fingerprint) return { ...others, refused };
  return others.recheck === true || others.forced !== undefined ? others : undefined;
}

/** How events name an entry. */
export function accountsOf({ image: { text, endpoint } }: StoreEntry) {
  return { image: text, ...(endpoint && { endpoint: endpoint.text }) };
}

/** Whether news of one image are news of another: a mount may know no more than the repository. */
export function concerns(image: ImageReference, news: ImageReference): boolean {
  return image.text === news.text ||
    image.tag === undefined && image.digest === undefined &&
      image.registry === news.registry && image.repository === news.repository;
}
