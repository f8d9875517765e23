import {
  type Credential,
  credentialFingerprint,
  type DeliveryOutcome,
  type DeliveryState,
  encodeRegistryAuth,
  type FileOutcome,
  type InstanceKey,
  instanceKey,
  type RafsInstance,
  type Secret,
} from "../model/mod.ts";
import type { StoreEntry } from "../credentials/mod.ts";

/** Hosts that would see a credential and that nobody named. */
export interface UnapprovedHosts {
  readonly hosts: readonly string[];
  readonly action: "delivered" | "withheld";
}

/** What the agent remembers of one mount: how its delivery stands, and when to try again. */
export interface InstanceRecord {
  readonly state: DeliveryState;
  readonly detail?: string;
  /** What nydusd holds for it, from the last look or read-back. */
  readonly currentAuth?: Secret;
  /** Fingerprint of the credential that its file is known to hold, or rightly lacks. */
  readonly fileFingerprint?: string;
  readonly file?: FileOutcome;
  /** Wall time since when nydusd holds the right value. */
  readonly storedAtMs?: number;
  readonly deliveredAtMs?: number;
  /** Monotonic time at which nydusd confirmed a delivery: older observations do not count. */
  readonly confirmedAtMs?: number;
  /**
   * Wall time since when its file holds another credential than the one that its nydusd goes on
   * with, which cannot be told.
   */
  readonly behindSinceMs?: number;
  /** Reads have succeeded with the value that it holds, and none has failed since. */
  readonly proven?: boolean;
  /** So many. */
  readonly provenReads?: number;
  /** Hosts that see its credential and that nobody named, and what was decided about them. */
  readonly unapproved?: UnapprovedHosts;
  readonly failures: number;
  /** Fingerprint of the credential that could not be delivered. */
  readonly failedFingerprint?: string;
  /** Monotonic time before which delivery is not tried again. */
  readonly retryAtMs?: number;
}

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;

/** The records of all mounts, by key. Every mount is a delivery of its own. */
export class MountRecords {
  readonly #records = new Map<InstanceKey, InstanceRecord>();

  get(key: InstanceKey): InstanceRecord {
    return this.#records.get(key) ?? { state: "pending", failures: 0 };
  }

  set(key: InstanceKey, record: InstanceRecord): void {
    this.#records.set(key, record);
  }

  /** Forgets the mounts that no longer exist. */
  keepOnly(live: ReadonlySet<InstanceKey>): void {
    for (const key of this.#records.keys()) if (!live.has(key)) this.#records.delete(key);
  }

  /** The earliest monotonic time at which a failed delivery may be tried again. */
  nextRetryAtMs(): number | undefined {
    const times = [...this.#records.values()].flatMap(({ retryAtMs }) => retryAtMs ?? []);
    return times.length === 0 ? undefined : Math.min(...times);
  }
}

/** The key of a mount's record. */
export function keyOf({ daemonId, snapshotId }: RafsInstance): InstanceKey {
  return instanceKey(daemonId, snapshotId);
}

/** Whether a credential must wait after a failure; another one does not wait for its pause. */
export function isPaused(
  { failedFingerprint, retryAtMs = 0 }: InstanceRecord,
  credential: Credential,
  nowMs: number,
): boolean {
  return retryAtMs > nowMs && failedFingerprint === credentialFingerprint(credential);
}

/** Whether nydusd holds the credential that it should, and has since a moment (wall time). */
export function isUsedSince(
  { currentAuth, state, storedAtMs = Infinity }: InstanceRecord,
  sinceMs: number,
): boolean {
  if (currentAuth === undefined || currentAuth.isEmpty) return false;
  return state === "adopted" || (state === "stored" && storedAtMs <= sinceMs);
}

/** What a delivery leaves behind: encoded and named where it is stored, once a credential. */
export function givenBy(credential: Credential, entry: StoreEntry | undefined) {
  const stored = entry?.stored?.candidate.credential === credential ? entry.stored : undefined;
  const auth = stored?.registryAuth ??
    (credential.kind === "basic" ? encodeRegistryAuth(credential) : undefined);
  return {
    fingerprint: stored?.fingerprint ?? credentialFingerprint(credential),
    ...(auth !== undefined && { auth }),
  };
}

/** The pause after so many failures in a row, in milliseconds. */
export function retryDelayMs(failures: number): number {
  return Math.min(RETRY_FIRST_MS * 2 ** Math.min(failures - 1, 10), RETRY_MAX_MS);
}

/** Where a mount stands after an attempt to deliver the credential of this fingerprint. */
export function recordAfter(
  before: InstanceRecord,
  outcome: DeliveryOutcome,
  given: { readonly fingerprint: string; readonly auth?: Secret },
  now: { readonly wallMs: number; readonly monotonicMs: number },
): InstanceRecord {
  const fileDone = outcome.file.kind !== "failed";
  const state = stateAfter(outcome);
  const landed = outcome.kind === "delivered" || outcome.kind === "unchanged";
  const failed = !fileDone || outcome.kind === "rejected" || outcome.kind === "unreachable";
  const isRetry = before.failedFingerprint === given.fingerprint;
  const failures = failed ? (isRetry ? before.failures : 0) + 1 : 0;
  const detail = detailAfter(outcome);
  const currentAuth = landed ? given.auth : before.currentAuth;
  const fileFingerprint = fileDone ? given.fingerprint : before.fileFingerprint;
  const storedAtMs = !landed
    ? undefined
    : outcome.kind === "unchanged"
    ? before.storedAtMs ?? now.wallMs
    : now.wallMs;
  const confirmedAtMs = landed ? now.monotonicMs : before.confirmedAtMs;
  const behindSinceMs = outcome.kind !== "file-only"
    ? undefined
    : before.behindSinceMs ?? (outcome.file.kind === "written" ? now.wallMs : undefined);
  return {
    state,
    failures,
    file: outcome.file,
    ...(behindSinceMs !== undefined && { behindSinceMs }),
    ...(detail !== undefined && { detail }),
    ...(currentAuth !== undefined && { currentAuth }),
    ...(fileFingerprint !== undefined && { fileFingerprint }),
    ...(storedAtMs !== undefined && { storedAtMs }),
    ...(confirmedAtMs !== undefined && { confirmedAtMs }),
    ...(landed || outcome.file.kind === "written"
      ? { deliveredAtMs: now.wallMs }
      : before.deliveredAtMs !== undefined && { deliveredAtMs: before.deliveredAtMs }),
    ...(before.unapproved && { unapproved: before.unapproved }),
    ...(failed && {
      failedFingerprint: given.fingerprint,
      retryAtMs: now.monotonicMs + retryDelayMs(failures),
    }),
  };
}

/** What reads with the value that a mount holds have proven so far. */
export function recordAfterReads(
  { provenReads = 0, ...record }: InstanceRecord,
  { verdict, reads }: { readonly verdict: "failed" | "succeeded"; readonly reads: number },
): InstanceRecord {
  if (verdict === "failed") return { ...record, proven: false };
  return { ...record, proven: true, provenReads: provenReads + reads };
}

function stateAfter(outcome: DeliveryOutcome): DeliveryState {
  switch (outcome.kind) {
    case "delivered":
    case "unchanged":
      return "stored";
    case "rejected":
      return "refused";
    case "file-only":
    case "unreachable":
    case "unsupported":
      return outcome.kind;
  }
}

function detailAfter(outcome: DeliveryOutcome): string | undefined {
  if (outcome.file.kind === "failed") {
    return `its configuration file was not written: ${outcome.file.detail}`;
  }
  return "detail" in outcome ? outcome.detail : undefined;
}
