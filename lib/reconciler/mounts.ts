import {
  type Candidate,
  type Credential,
  credentialFingerprint,
  type CredentialSubject,
  type Daemon,
  decodeRegistryAuth,
  defined,
  type DeliveryOutcome,
  type DeliveryState,
  type FileOutcome,
  type RafsInstance,
  type Secret,
  subjectKey,
  subjectOf,
  tokenExpiryOf,
} from "../model/mod.ts";

/** A mount, its daemon, and what is known about it. The object stays the same over discoveries. */
export interface Mount {
  daemon: Daemon;
  instance: RafsInstance;
  record: InstanceRecord;
  /** Read counters at the last poll (wall time). */
  counters?: { pid: number | undefined; reads: number; errors: number; atMs: number };
  /** Consecutive failed reads, and the `registry_auth` at the time. */
  failing?: { sinceMs: number; lastMs: number; currentAuth: Secret | undefined } | undefined;
  /** Fingerprint of the credential with which reads succeeded last. */
  workedWith?: string;
}

/** The mounts that the last discovery found. */
export class Mounts {
  all: readonly Mount[] = [];
  /** The mounts of each daemon, by ID. */
  byDaemon: ReadonlyMap<string, readonly Mount[]> = new Map();
  /** The subjects of all mounts with a known image, by {@linkcode subjectKey}. */
  subjects: ReadonlyMap<string, CredentialSubject> = new Map();
  #bySubject: ReadonlyMap<string | undefined, readonly Mount[]> = new Map();

  /** Returns the mounts of a {@linkcode subjectKey}. */
  of(key: string): readonly Mount[] {
    return this.#bySubject.get(key) ?? [];
  }

  /**
   * Updates the mounts after discovery.
   *
   * @param startedMs Monotonic time at which discovery started.
   */
  observe(daemons: readonly Daemon[], startedMs: number): void {
    const known = new Map(this.all.map((mount) => [keyOf(mount), mount]));
    const observed = (daemon: Daemon, instance: RafsInstance): Mount => {
      const mount = known.get(keyOf({ daemon, instance })) ??
        { daemon, instance, record: { state: "pending", failures: 0 } };
      const { pid, apiSocket } = mount.daemon;
      const replaced = pid !== daemon.pid || apiSocket !== daemon.apiSocket;
      const record = recordAfterDiscovery(mount.record, daemon, instance, startedMs, replaced);
      return Object.assign(mount, { daemon, instance, record });
    };
    this.byDaemon = new Map(daemons.map((daemon) => [
      daemon.id,
      daemon.instances.map((instance) => observed(daemon, instance)),
    ]));
    this.all = [...this.byDaemon.values()].flat();
    this.#bySubject = Map.groupBy(this.all, ({ instance }) => storeKeyOf(instance));
    const subjects = this.all.flatMap(({ instance }) => subjectOf(instance) ?? []);
    this.subjects = new Map(subjects.map((subject) => [subjectKey(subject), subject]));
  }

  /** Returns the earliest monotonic time at which a failed delivery is retried, or `Infinity`. */
  nextRetryAtMs(): number {
    return this.all.reduce((ms, { record }) => Math.min(ms, record.retryAtMs ?? ms), Infinity);
  }
}

function keyOf({ daemon, instance }: Pick<Mount, "daemon" | "instance">): string {
  return `${daemon.id}/${instance.snapshotId}`;
}

/** Returns the store key of a mount; undefined when its image is unknown. */
export function storeKeyOf(instance: RafsInstance): string | undefined {
  const subject = subjectOf(instance);
  return subject && subjectKey(subject);
}

/** Unapproved hosts that nydusd sends a credential to, and what the agent did about it. */
export interface UnapprovedHosts {
  readonly hosts: readonly string[];
  readonly action: "delivered" | "withheld";
}

/** The delivery record of one mount. Immutable; replaced on change. */
export interface InstanceRecord {
  readonly state: DeliveryState;
  readonly detail?: string;
  /** The `registry_auth` in nydusd, as of the last discovery or delivery. */
  readonly currentAuth?: Secret;
  /** Fingerprint of the credential that the configuration file has, or rightly leaves out. */
  readonly fileFingerprint?: string;
  readonly file?: FileOutcome;
  /** Wall time since when nydusd has the desired credential. */
  readonly storedAtMs?: number;
  readonly deliveredAtMs?: number;
  /** Monotonic time of the last confirmed delivery; earlier observations are ignored. */
  readonly confirmedAtMs?: number;
  /**
   * Wall time since when the configuration file has a newer credential than a nydusd that reads its
   * file only at start.
   */
  readonly behindSinceMs?: number;
  /** Successful reads with the current credential; undefined while none succeeded since a failure. */
  readonly provenReads?: number;
  readonly unapproved?: UnapprovedHosts;
  /** Consecutive failed deliveries. */
  readonly failures: number;
  /** Fingerprint of the credential whose delivery failed last. */
  readonly failedFingerprint?: string;
  /** Monotonic time before which delivery is not retried. */
  readonly retryAtMs?: number;
}

/** A failed read without another read since then does not describe the current state. */
const FAILURE_EXPIRES_MS = 10 * 60_000;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;

/**
 * Returns the record after discovery: the observed `registry_auth` replaces the known one.
 *
 * @param startedMs Monotonic time at which discovery started. A delivery that was confirmed since
 * is newer than the observation.
 * @param replaced Whether the daemon is another process, which may have read another file.
 */
export function recordAfterDiscovery(
  record: InstanceRecord,
  daemon: Daemon,
  instance: RafsInstance,
  startedMs: number,
  replaced: boolean,
): InstanceRecord {
  const reset = replaced || daemon.state !== "running";
  if (!reset && (record.confirmedAtMs ?? -Infinity) >= startedMs) return record;
  const { mountId } = instance;
  const currentAuth = mountId === undefined ? undefined : daemon.currentAuth?.get(mountId);
  const before = record.currentAuth;
  // Another client changed it: the times and reads recorded for the previous value do not apply.
  const changed = before !== undefined && currentAuth !== undefined && !currentAuth.equals(before);
  return defined({
    ...record,
    currentAuth,
    behindSinceMs: replaced ? undefined : record.behindSinceMs,
    fileFingerprint: replaced ? undefined : record.fileFingerprint,
    retryAtMs: reset ? undefined : record.retryAtMs,
    storedAtMs: changed ? undefined : record.storedAtMs,
    provenReads: changed ? undefined : record.provenReads,
  });
}

/**
 * Returns the record after a delivery.
 *
 * @param delivered The fingerprint of the credential, and its `registry_auth` if it has one.
 */
export function recordAfterDelivery(
  before: InstanceRecord,
  outcome: DeliveryOutcome,
  delivered: { readonly fingerprint: string; readonly auth?: Secret },
  now: { readonly wallMs: number; readonly monotonicMs: number },
): InstanceRecord {
  const { kind, file } = outcome;
  const isStored = kind === "delivered" || kind === "unchanged";
  const isFailed = file.kind === "failed" || kind === "rejected" || kind === "unreachable";
  const isRetry = before.failedFingerprint === delivered.fingerprint;
  const failures = isFailed ? (isRetry ? before.failures : 0) + 1 : 0;
  const storedAtMs = kind === "unchanged" ? before.storedAtMs ?? now.wallMs : now.wallMs;
  const wasWritten = file.kind === "written" ? now.wallMs : undefined;
  return defined({
    state: STATE_AFTER[kind],
    detail: detailAfter(outcome),
    currentAuth: isStored ? delivered.auth : before.currentAuth,
    file,
    fileFingerprint: file.kind === "failed" ? before.fileFingerprint : delivered.fingerprint,
    storedAtMs: isStored ? storedAtMs : undefined,
    deliveredAtMs: isStored || file.kind === "written" ? now.wallMs : before.deliveredAtMs,
    confirmedAtMs: isStored ? now.monotonicMs : before.confirmedAtMs,
    behindSinceMs: kind === "file-only" ? before.behindSinceMs ?? wasWritten : undefined,
    unapproved: before.unapproved,
    failures,
    failedFingerprint: isFailed ? delivered.fingerprint : undefined,
    retryAtMs: isFailed ? now.monotonicMs + retryDelayMs(failures) : undefined,
  });
}

/** Returns the delay (ms) before the next retry after a number of consecutive failures. */
export function retryDelayMs(failures: number): number {
  return Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MAX_MS);
}

/** Whether delivery waits after a failure. Another credential is delivered without waiting. */
export function isPaused(
  { failedFingerprint, retryAtMs = 0 }: InstanceRecord,
  credential: Credential,
  nowMs: number,
): boolean {
  return retryAtMs > nowMs && failedFingerprint === credentialFingerprint(credential);
}

/** Whether nydusd has had the desired credential since a wall time. */
export function isInSyncSince(
  { currentAuth, state, storedAtMs = Infinity }: InstanceRecord,
  sinceMs: number,
): boolean {
  if (currentAuth === undefined || currentAuth.isEmpty) return false;
  return state === "adopted" || (state === "stored" && storedAtMs <= sinceMs);
}

/**
 * Returns since when (wall time) the reads of a mount fail although it has the desired credential;
 * undefined if they do not, or if its credential has changed since.
 */
export function readsFailingSinceMs({ failing, record }: Mount, nowMs: number): number | undefined {
  if (failing === undefined || nowMs - failing.lastMs > FAILURE_EXPIRES_MS) return undefined;
  return isSameAuth(record.currentAuth, failing.currentAuth) ? failing.sinceMs : undefined;
}

function isSameAuth(a: Secret | undefined, b: Secret | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

/** Decodes a `registry_auth` of nydusd, which accepts any text; undefined if it is no credential. */
export function decodeCurrentAuth(currentAuth: Secret | undefined): Credential | undefined {
  try {
    return currentAuth && decodeRegistryAuth(currentAuth.reveal());
  } catch {
    return undefined;
  }
}

/** Returns a credential found in nydusd as a candidate. */
export function candidateInNydusd(
  credential: Credential,
  origin: string,
  nowMs: number,
): Candidate {
  const { expiresAtMs } = tokenExpiryOf(credential, nowMs);
  return defined({ credential, origin, fetchedAtMs: nowMs, expiresAtMs, watched: true });
}

/** The state of a mount after an attempt to deliver. */
const STATE_AFTER: Readonly<Record<DeliveryOutcome["kind"], DeliveryState>> = {
  delivered: "stored",
  unchanged: "stored",
  rejected: "refused",
  "file-only": "file-only",
  unreachable: "unreachable",
  unsupported: "unsupported",
};

function detailAfter(outcome: DeliveryOutcome): string | undefined {
  if (outcome.file.kind === "failed") {
    return `failed to write the configuration file: ${outcome.file.detail}`;
  }
  return "detail" in outcome ? outcome.detail : undefined;
}
