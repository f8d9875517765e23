import { type RenewalWindow, waitingCeilingMs } from "../model/mod.ts";

/** The operator's wishes, in milliseconds. */
export interface RenewalSettings {
  /** How long before the hard end to renew; `auto` = a third of the hard life. */
  readonly leadTimeMs: number | "auto";
  /** How often to ask again when no clock is known. */
  readonly refreshIntervalMs: number;
}

/** What is known of the life of one credential. All times are wall times. */
export interface Lifetime {
  /** When this very value was first seen: a source that repeats itself does not make it younger. */
  readonly firstSeenAtMs: number;
  /** When the source last gave it. */
  readonly fetchedAtMs: number;
  readonly refreshAtMs?: number;
  readonly expiresAtMs?: number;
  /** The source tells us when it changes, so it is not asked by the clock. */
  readonly watched: boolean;
  /** In [0, 1): this credential's place in the spread, drawn once when it is stored. */
  readonly jitter: number;
  /** How many credentials came before it since the agent began: every other one is spread wide. */
  readonly turn?: number;
}

/** Attempts since the last one that brought something newer. */
export interface Attempts {
  /** How many failed, or brought the same dying credential again. */
  readonly unproductive: number;
  readonly lastAtMs?: number;
  /** In [0, 1): drawn at each attempt, for the full jitter of the backoff. */
  readonly draw: number;
  /** What the source asked us to wait for (Retry-After, a plugin's backoff). */
  readonly retryAtMs?: number;
  /** The last one failed in nothing: the sources have no credential. */
  readonly isNone?: boolean;
  /** A source goes by pods' accounts: what a mount holds may be what one got that is gone. */
  readonly perServiceAccount?: boolean;
}

/** A soft life below this says "do not cache", not when to ask again. */
const MIN_REFRESH_AFTER_MS = 1_000;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 5 * 60_000;
/** With time left: after an outage of an hour a whole fleet asks, and must not ask too fast. */
const ADVISORY_MAX_MS = 15 * 60_000;
const MANDATORY_SPAN_MS = 5 * 60_000;
const MANDATORY_RETRY_MAX_MS = 10_000;
const MANDATORY_RETRY_MIN_MS = 250;
const EXPIRED_RETRY_MAX_MS = 30_000;

function lifetimeOf(lifetime: Lifetime): number | undefined {
  if (lifetime.expiresAtMs === undefined) return undefined;
  return Math.max(0, lifetime.expiresAtMs - lifetime.firstSeenAtMs);
}

/** Lead and spread together never exceed half the life: two executions in a life, at the most. */
function leadMs(lifetimeMs: number, settings: RenewalSettings): number {
  const wanted = settings.leadTimeMs === "auto" ? lifetimeMs / 3 : settings.leadTimeMs;
  return Math.min(Math.max(wanted, mandatorySpanMs(lifetimeMs)), lifetimeMs * 0.45);
}

/**
 * How much earlier than `lead` before the end a credential may be renewed.
 *
 * A fleet that booted together must not renew together. Two renewals in a row take at least a life,
 * so that no life sees more than two executions; the spread between nodes is widest when every
 * other one is early by up to a third of the life, and those between keep to the lead.
 */
function earlyMs(lifetimeMs: number, lead: number, { jitter, turn }: Lifetime): number {
  if (turn === undefined) return jitter * (lifetimeMs / 2 - lead);
  if (turn % 2 === 1) return 0;
  return jitter * (lifetimeMs - lead - Math.max(lead, lifetimeMs / 3));
}

/** The last max(5 min, 10 %) of the hard life, at most a third of it. */
function mandatorySpanMs(lifetimeMs: number): number {
  return Math.min(Math.max(MANDATORY_SPAN_MS, lifetimeMs / 10), lifetimeMs / 3);
}

/** When the window in which a renewal must not fail begins; undefined without a hard clock. */
export function mandatoryAtMs(lifetime: Lifetime): number | undefined {
  const lifetimeMs = lifetimeOf(lifetime);
  if (lifetimeMs === undefined || lifetime.expiresAtMs === undefined) return undefined;
  return lifetime.expiresAtMs - mandatorySpanMs(lifetimeMs);
}

/**
 * When to ask the source again while nothing goes wrong: the earlier of what the two clocks say.
 * Undefined when the source is watched and has no clock.
 */
export function dueAtMs(lifetime: Lifetime, settings: RenewalSettings): number | undefined {
  const soft = refreshDueAtMs(lifetime);
  const hard = expiryDueAtMs(lifetime, settings, soft);
  if (hard !== undefined && soft !== undefined) return Math.min(hard, soft);
  if (hard !== undefined || soft !== undefined) return hard ?? soft;
  if (lifetime.watched) return undefined;
  // A fleet that booted together is spread by its first turn; from then on nobody asks too often,
  // and who was early stays ahead, or the next turn would bring the fleet together again.
  const first = (lifetime.turn ?? 0) === 0 && lifetime.fetchedAtMs === lifetime.firstSeenAtMs;
  const spread = first ? 1 - 0.45 * lifetime.jitter : 1.2 - 0.2 * lifetime.jitter;
  return lifetime.fetchedAtMs + settings.refreshIntervalMs * spread;
}

/** @param refreshDueAtMs Comes first in some turns: the others are early by what it leaves at most. */
function expiryDueAtMs(
  lifetime: Lifetime,
  settings: RenewalSettings,
  refreshDueAtMs = Infinity,
): number | undefined {
  const lifetimeMs = lifetimeOf(lifetime);
  if (lifetimeMs === undefined || lifetime.expiresAtMs === undefined) return undefined;
  const lead = leadMs(lifetimeMs, settings);
  const mostMs = Math.max(0, refreshDueAtMs - lifetime.firstSeenAtMs - lead - 1);
  return lifetime.expiresAtMs - lead - Math.min(earlyMs(lifetimeMs, lead, lifetime), mostMs);
}

function refreshDueAtMs(lifetime: Lifetime): number | undefined {
  if (lifetime.refreshAtMs === undefined) return undefined;
  const refreshAfterMs = lifetime.refreshAtMs - lifetime.fetchedAtMs;
  if (refreshAfterMs < MIN_REFRESH_AFTER_MS) return undefined;
  // Without a hard end the hint is all that is known of the token's life, so be early. Nodes that
  // booted together are spread over half the hint: two executions in it, at the most.
  return lifetime.expiresAtMs === undefined
    ? lifetime.refreshAtMs - refreshAfterMs * (0.1 + 0.4 * lifetime.jitter)
    : lifetime.refreshAtMs - refreshAfterMs * 0.5 * lifetime.jitter;
}

/** Where a credential is in its life at `nowMs`. Only the hard clock makes it `expired`. */
export function renewalWindow(
  lifetime: Lifetime,
  nowMs: number,
  settings: RenewalSettings,
): RenewalWindow {
  const mandatory = mandatoryAtMs(lifetime);
  if (mandatory === undefined || lifetime.expiresAtMs === undefined) {
    const due = dueAtMs(lifetime, settings);
    return due !== undefined && lifetime.refreshAtMs !== undefined && nowMs >= due
      ? "advisory"
      : "unknown-lifetime";
  }
  if (nowMs >= lifetime.expiresAtMs) return "expired";
  if (nowMs >= mandatory) return "mandatory";
  const due = dueAtMs(lifetime, settings);
  return due !== undefined && nowMs >= due ? "advisory" : "fresh";
}

/**
 * When to ask the source next, as a pure function of state and time; at or before `nowMs` means
 * now, undefined means when the source says that it changed.
 *
 * A wall clock that stepped back past the last attempt makes it due at once: what was reckoned from
 * that moment no longer holds.
 */
export function nextAttemptAtMs(
  lifetime: Lifetime | undefined,
  attempts: Attempts,
  nowMs: number,
  settings: RenewalSettings,
): number | undefined {
  const last = attempts.lastAtMs;
  if (last !== undefined && nowMs < last) return nowMs;
  if (lifetime === undefined) return emptyRetryAtMs(attempts, nowMs, settings);
  if (nowMs < lifetime.fetchedAtMs) return nowMs;
  if (attempts.unproductive === 0 || last === undefined) return dueAtMs(lifetime, settings);
  return retryAtMs(lifetime, attempts, last, settings);
}

/**
 * No credential is known at all: a growing pause, which never exceeds the refresh interval. It is
 * short at first where a source failed, and may do better soon.
 */
function emptyRetryAtMs(attempts: Attempts, nowMs: number, settings: RenewalSettings): number {
  if (attempts.lastAtMs === undefined) return nowMs;
  const wanted = attempts.isNone === true
    ? backoffMs(attempts, BACKOFF_FIRST_MS * 5)
    : Math.max(waitingCeilingMs(attempts.unproductive) * attempts.draw, BACKOFF_FIRST_MS / 2);
  const pause = Math.min(wanted, settings.refreshIntervalMs);
  return Math.max(
    attempts.lastAtMs + pause,
    Math.min(attempts.retryAtMs ?? 0, nowMs + BACKOFF_MAX_MS),
  );
}

function retryAtMs(
  lifetime: Lifetime,
  attempts: Attempts,
  lastMs: number,
  settings: RenewalSettings,
): number {
  const hard = lifetime.expiresAtMs;
  const mandatory = mandatoryAtMs(lifetime);
  const asked = Math.max(0, (attempts.retryAtMs ?? 0) - lastMs);
  if (hard === undefined || mandatory === undefined) {
    const refreshMs = Math.max(settings.refreshIntervalMs, MIN_REFRESH_AFTER_MS);
    const most = lifetime.refreshAtMs === undefined ? refreshMs : ADVISORY_MAX_MS;
    // When it dies nobody knows: of ourselves we ask no slower than while all went well.
    const hintMs = (lifetime.refreshAtMs ?? lifetime.fetchedAtMs) - lifetime.fetchedAtMs;
    const paceMs = hintMs < MIN_REFRESH_AFTER_MS ? refreshMs : hintMs;
    const pause = Math.min(backoffMs(attempts, BACKOFF_FIRST_MS, ADVISORY_MAX_MS), paceMs);
    return lastMs + Math.min(Math.max(pause, asked), most);
  }
  if (lastMs >= hard) {
    const pause = Math.min(backoffMs(attempts, BACKOFF_FIRST_MS), EXPIRED_RETRY_MAX_MS);
    return lastMs + Math.max(pause, Math.min(asked, EXPIRED_RETRY_MAX_MS));
  }
  const quarterMs = Math.max((hard - lastMs) / 4, MANDATORY_RETRY_MIN_MS);
  if (lastMs >= mandatory) {
    return lastMs +
      Math.min(backoffMs(attempts, BACKOFF_FIRST_MS), MANDATORY_RETRY_MAX_MS, quarterMs);
  }
  const pause = Math.min(backoffMs(attempts, BACKOFF_FIRST_MS, ADVISORY_MAX_MS), quarterMs);
  // The mandatory window begins with an attempt, but not right on the heels of the last one.
  const latest = Math.max(mandatory, lastMs + Math.min(BACKOFF_FIRST_MS / 2, quarterMs));
  return Math.min(lastMs + Math.max(pause, asked), latest);
}

/** Exponential with full jitter, but never so short that it spins: at least half the first step. */
function backoffMs(attempts: Attempts, firstMs: number, maxMs = BACKOFF_MAX_MS): number {
  const steps = Math.min(Math.max(attempts.unproductive - 1, 0), 20);
  const most = Math.min(firstMs * 2 ** steps, maxMs);
  return Math.max(most * attempts.draw, firstMs / 2);
}

/**
 * A place in [0, 1) that this node gives to credentials of one kind, equal after every restart, so
 * that a fleet which booted together does not ask together (FNV-1a over UTF-16 units, mixed).
 */
export function jitterFor(seed: string, subject: string): number {
  let hash = 0x811c9dc5;
  for (const text of [seed, "\0", subject]) {
    for (let i = 0; i < text.length; i++) {
      hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    }
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
