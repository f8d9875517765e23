/**
 * Renewal policy: decides when an image's credential is requested next. Pure functions of state
 * and time, without timers or I/O.
 *
 * A source reports up to two times for a credential:
 *
 * - refresh-after (`refreshAtMs`): until when the source allows the credential to be cached;
 * - expiry (`expiresAtMs`): when registries stop accepting it.
 *
 * They divide its lifetime into windows ({@linkcode renewalWindow}):
 *
 * ```text
 * issued              due (expiry - lead - jitter)   mandatory        expiry
 *   |------ fresh ------|--------- advisory ---------|-- mandatory --|-- expired --
 * ```
 *
 * Renewal starts in the advisory window, with exponential backoff between attempts. In the
 * mandatory window attempts follow every few seconds, regardless of a Retry-After. A
 * credential without an expiry is renewed by its refresh-after, or by the refresh interval.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { type Candidate, type RenewalWindow, waitingCeilingMs } from "../model/mod.ts";

/** Renewal settings. */
export interface RenewalSettings {
  /** How long before expiry to renew, in milliseconds; `auto` is a third of the lifetime. */
  readonly leadTimeMs: number | "auto";
  /** Interval between requests for a credential without refresh-after and expiry. */
  readonly refreshIntervalMs: number;
}

/** The known times of one credential. All are wall times in milliseconds. */
export interface Lifetime
  extends Pick<Candidate, "fetchedAtMs" | "refreshAtMs" | "expiresAtMs" | "watched"> {
  /** When this value was first seen. Fetching the same value again does not change it. */
  readonly firstSeenAtMs: number;
  /** In [0, 1): spreads the renewals of many nodes; constant for one credential. */
  readonly jitter: number;
}

/** The attempts since the last one that returned a newer credential. */
export interface Attempts {
  /** Attempts that failed or returned a credential that is due for renewal already. */
  readonly unproductive: number;
  readonly lastAtMs?: number;
  /** In [0, 1): random for each attempt, for the full jitter of the backoff. */
  readonly jitter: number;
  /** When the source allows the next request (Retry-After, the backoff of a plugin). */
  readonly retryAtMs?: number;
  /** The last attempt succeeded, but no source has a credential. */
  readonly notFound?: boolean;
  /** A source returns credentials per service account: mounts must not share them. */
  readonly perServiceAccount?: boolean;
}

/** A shorter refresh-after means "do not cache" and is no time to renew at. */
const MIN_REFRESH_AFTER_MS = 1_000;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 5 * 60_000;
/** Higher than {@linkcode BACKOFF_MAX_MS}: after a long outage all nodes retry at once. */
const ADVISORY_RETRY_MAX_MS = 15 * 60_000;
const MANDATORY_WINDOW_MS = 5 * 60_000;
const MANDATORY_RETRY_MAX_MS = 10_000;
const MANDATORY_RETRY_MIN_MS = 250;
const EXPIRED_RETRY_MAX_MS = 30_000;

/**
 * Returns when to request the credential next; at or before `nowMs` means immediately, undefined
 * means not before the source reports a change.
 *
 * When the wall clock was set back to before the last attempt, the credential is due immediately:
 * times calculated from that attempt no longer apply.
 *
 * @param lifetime Undefined while no source has returned a credential.
 */
export function nextAttemptAtMs(
  lifetime: Lifetime | undefined,
  attempts: Attempts,
  nowMs: number,
  settings: RenewalSettings,
): number | undefined {
  const { lastAtMs, unproductive } = attempts;
  if (lastAtMs !== undefined && nowMs < lastAtMs) return nowMs;
  if (lifetime === undefined) return firstCredentialAtMs(attempts, nowMs, settings);
  if (nowMs < lifetime.fetchedAtMs) return nowMs;
  if (unproductive === 0 || lastAtMs === undefined) return dueAtMs(lifetime, settings);
  return retryAtMs(lifetime, attempts, lastAtMs, settings);
}

/** Returns the window of a credential at `nowMs`. Only its expiry makes it `expired`. */
export function renewalWindow(
  lifetime: Lifetime,
  nowMs: number,
  settings: RenewalSettings,
): RenewalWindow {
  const { expiresAtMs, refreshAtMs } = lifetime;
  const mandatoryMs = mandatoryAtMs(lifetime);
  const isDue = nowMs >= (dueAtMs(lifetime, settings) ?? Infinity);
  if (expiresAtMs === undefined || mandatoryMs === undefined) {
    return isDue && refreshAtMs !== undefined ? "advisory" : "unknown-lifetime";
  }
  if (nowMs >= expiresAtMs) return "expired";
  if (nowMs >= mandatoryMs) return "mandatory";
  return isDue ? "advisory" : "fresh";
}

/**
 * Returns when to renew while no attempt fails: by refresh-after or expiry, whichever is earlier,
 * else by the refresh interval. Undefined for a watched source that reports neither.
 */
export function dueAtMs(lifetime: Lifetime, settings: RenewalSettings): number | undefined {
  const byRefreshMs = dueByRefreshMs(lifetime);
  const byExpiryMs = dueByExpiryMs(lifetime, settings);
  if (byRefreshMs !== undefined || byExpiryMs !== undefined) {
    return Math.min(byRefreshMs ?? Infinity, byExpiryMs ?? Infinity);
  }
  if (lifetime.watched) return undefined;
  // Up to 45 % early, which spreads nodes that started together.
  return lifetime.fetchedAtMs + settings.refreshIntervalMs * (1 - 0.45 * lifetime.jitter);
}

/** Returns when the mandatory window starts; undefined without an expiry. */
export function mandatoryAtMs(lifetime: Lifetime): number | undefined {
  const { expiresAtMs, firstSeenAtMs } = lifetime;
  if (expiresAtMs === undefined) return undefined;
  return expiresAtMs - mandatoryWindowMs(Math.max(0, expiresAtMs - firstSeenAtMs));
}

/** The mandatory window: the last 10 % of the lifetime, at least 5 minutes, at most a third. */
function mandatoryWindowMs(lifetimeMs: number): number {
  return Math.min(Math.max(MANDATORY_WINDOW_MS, lifetimeMs / 10), lifetimeMs / 3);
}

function dueByRefreshMs({ refreshAtMs, fetchedAtMs, expiresAtMs, jitter }: Lifetime) {
  if (refreshAtMs === undefined) return undefined;
  const refreshAfterMs = refreshAtMs - fetchedAtMs;
  if (refreshAfterMs < MIN_REFRESH_AFTER_MS) return undefined;
  // At most half of it early, so that it sees at most two requests. Without an expiry the token
  // may well expire at refresh-after, so renew at least 10 % earlier.
  return refreshAtMs -
    refreshAfterMs * (expiresAtMs === undefined ? 0.1 + 0.4 * jitter : 0.5 * jitter);
}

function dueByExpiryMs(lifetime: Lifetime, settings: RenewalSettings) {
  const { expiresAtMs, firstSeenAtMs, jitter } = lifetime;
  if (expiresAtMs === undefined) return undefined;
  const lifetimeMs = Math.max(0, expiresAtMs - firstSeenAtMs);
  const leadMs = leadTimeMs(lifetimeMs, settings);
  // Nodes that started together do not renew together, and no lifetime sees more than two requests.
  return expiresAtMs - leadMs - jitter * (lifetimeMs / 2 - leadMs);
}

/** The effective lead time: not in the mandatory window, and below half of the lifetime. */
function leadTimeMs(lifetimeMs: number, settings: RenewalSettings): number {
  const wantedMs = settings.leadTimeMs === "auto" ? lifetimeMs / 3 : settings.leadTimeMs;
  return Math.min(Math.max(wantedMs, mandatoryWindowMs(lifetimeMs)), lifetimeMs * 0.45);
}

/**
 * Returns when to retry while there is no credential at all: with a backoff that never exceeds the
 * refresh interval. It starts shorter where a source failed, because that may pass quickly.
 */
function firstCredentialAtMs(
  attempts: Attempts,
  nowMs: number,
  { refreshIntervalMs }: RenewalSettings,
): number {
  const { lastAtMs, unproductive, jitter, notFound = false, retryAtMs = 0 } = attempts;
  if (lastAtMs === undefined) return nowMs;
  const pauseMs = notFound
    ? backoffMs(attempts, 5 * BACKOFF_FIRST_MS)
    : Math.max(waitingCeilingMs(unproductive) * jitter, BACKOFF_FIRST_MS / 2);
  return Math.max(
    lastAtMs + Math.min(pauseMs, refreshIntervalMs),
    Math.min(retryAtMs, lastAtMs + BACKOFF_MAX_MS),
  );
}

/** Returns when to retry after the unproductive attempt at `lastMs`, by the window of that time. */
function retryAtMs(
  lifetime: Lifetime,
  attempts: Attempts,
  lastMs: number,
  settings: RenewalSettings,
): number {
  const { expiresAtMs } = lifetime;
  const mandatoryMs = mandatoryAtMs(lifetime);
  const requestedMs = Math.max(0, (attempts.retryAtMs ?? lastMs) - lastMs);
  if (expiresAtMs === undefined || mandatoryMs === undefined) {
    return lastMs + pauseWithoutExpiryMs(lifetime, attempts, requestedMs, settings);
  }
  const pauseMs = backoffMs(attempts, BACKOFF_FIRST_MS);
  if (lastMs >= expiresAtMs) {
    return lastMs + Math.min(Math.max(pauseMs, requestedMs), EXPIRED_RETRY_MAX_MS);
  }
  const quarterMs = Math.max((expiresAtMs - lastMs) / 4, MANDATORY_RETRY_MIN_MS);
  if (lastMs >= mandatoryMs) {
    return lastMs + Math.min(pauseMs, MANDATORY_RETRY_MAX_MS, quarterMs);
  }
  const advisoryMs = Math.min(
    backoffMs(attempts, BACKOFF_FIRST_MS, ADVISORY_RETRY_MAX_MS),
    quarterMs,
  );
  // The mandatory window starts with an attempt, but not immediately after the last one.
  const latestMs = Math.max(mandatoryMs, lastMs + Math.min(BACKOFF_FIRST_MS / 2, quarterMs));
  return Math.min(lastMs + Math.max(advisoryMs, requestedMs), latestMs);
}

/** The credential may expire at any time: retries are no slower than regular requests. */
function pauseWithoutExpiryMs(
  { refreshAtMs, fetchedAtMs }: Lifetime,
  attempts: Attempts,
  requestedMs: number,
  settings: RenewalSettings,
): number {
  const intervalMs = Math.max(settings.refreshIntervalMs, MIN_REFRESH_AFTER_MS);
  const refreshAfterMs = refreshAtMs === undefined ? 0 : refreshAtMs - fetchedAtMs;
  const regularMs = refreshAfterMs < MIN_REFRESH_AFTER_MS ? intervalMs : refreshAfterMs;
  const maxMs = refreshAtMs === undefined ? intervalMs : ADVISORY_RETRY_MAX_MS;
  const pauseMs = Math.min(
    backoffMs(attempts, BACKOFF_FIRST_MS, ADVISORY_RETRY_MAX_MS),
    regularMs,
  );
  return Math.min(Math.max(pauseMs, requestedMs), maxMs);
}

/** Exponential backoff with full jitter; at least half of the first step, so that it never spins. */
function backoffMs(
  { unproductive, jitter }: Attempts,
  firstMs: number,
  maxMs = BACKOFF_MAX_MS,
): number {
  return Math.max(Math.min(firstMs * 2 ** (unproductive - 1), maxMs) * jitter, firstMs / 2);
}

/**
 * Returns a jitter in [0, 1) for the credentials of one source on one node. It is the same after
 * every restart, so that restarting a fleet does not synchronize its renewals.
 */
export function jitterFor(seed: string, source: string): number {
  const hash = createHash("sha256").update(`${seed}\0${source}`).digest();
  return hash.readUInt32BE() / 2 ** 32;
}
