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
  type InstanceKey,
  instanceKey,
  type RafsInstance,
  type Secret,
  subjectKey,
  subjectOf,
  tokenExpiryOf,
} from "../model/mod.ts";

/** A mount and its daemon. */
export interface Mount {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
}

/** Index of the mounts that the last discovery found. */
export class Mounts {
  #daemons: ReadonlyMap<string, Daemon> = new Map();
  #byKey: ReadonlyMap<string | undefined, readonly Mount[]> = new Map();

  /** The daemons by ID. */
  get daemons(): ReadonlyMap<string, Daemon> {
    return this.#daemons;
  }

  /** The subjects of all mounts with a known image, by {@linkcode subjectKey}. */
  get subjects(): ReadonlyMap<string, CredentialSubject> {
    const mounts = [...this.#byKey.values()].flatMap(([first]) => first ?? []);
    const subjects = mounts.flatMap(({ instance }) => subjectOf(instance) ?? []);
    return new Map(subjects.map((subject) => [subjectKey(subject), subject]));
  }

  /** Returns the mounts of a {@linkcode subjectKey}. */
  of(key: string): readonly Mount[] {
    return this.#byKey.get(key) ?? [];
  }

  /** Replaces the index. */
  replace(daemons: readonly Daemon[]): void {
    this.#daemons = new Map(daemons.map((daemon) => [daemon.id, daemon]));
    const mounts = daemons.flatMap((daemon) =>
      daemon.instances.map((instance) => ({ daemon, instance }))
    );
    this.#byKey = Map.groupBy(mounts, ({ instance }) => storeKeyOf(instance));
  }
}

/** Returns the store key of a mount; undefined when its image is unknown. */
export function storeKeyOf(instance: RafsInstance): string | undefined {
  const subject = subjectOf(instance);
  return subject && subjectKey(subject);
}

/** Returns the key of the record of a mount. */
export function recordKeyOf({ daemonId, snapshotId }: RafsInstance): InstanceKey {
  return instanceKey(daemonId, snapshotId);
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
  /** Whether reads with the current credential succeed, and none has failed since. */
  readonly proven?: boolean;
  /** The number of those reads. */
  readonly provenReads?: number;
  readonly unapproved?: UnapprovedHosts;
  /** Consecutive failed deliveries. */
  readonly failures: number;
  /** Fingerprint of the credential whose delivery failed last. */
  readonly failedFingerprint?: string;
  /** Monotonic time before which delivery is not retried. */
  readonly retryAtMs?: number;
}

/** The reads of one mount between two polls. */
export interface ReadFinding {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
  /** `failed` if at least one read failed. */
  readonly verdict: "failed" | "succeeded";
  readonly reads: number;
  /** Wall time of the previous poll. */
  readonly sinceMs: number;
}

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;

/** The delivery records of all mounts. */
export class MountRecords {
  readonly #records = new Map<InstanceKey, InstanceRecord>();

  get(key: InstanceKey): InstanceRecord {
    return this.#records.get(key) ?? { state: "pending", failures: 0 };
  }

  set(key: InstanceKey, record: InstanceRecord): void {
    this.#records.set(key, record);
  }

  /** Removes the records of all other mounts. */
  keepOnly(live: ReadonlySet<InstanceKey>): void {
    for (const key of this.#records.keys()) if (!live.has(key)) this.#records.delete(key);
  }

  /** Returns the earliest monotonic time at which a failed delivery is retried. */
  nextRetryAtMs(): number | undefined {
    const times = [...this.#records.values()].flatMap(({ retryAtMs }) => retryAtMs ?? []);
    return times.length === 0 ? undefined : Math.min(...times);
  }
}

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
    proven: changed ? undefined : record.proven,
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
    state: stateAfter(outcome),
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

/** Returns the record after reads that used the current credential. */
export function recordAfterReads(
  { provenReads = 0, ...record }: InstanceRecord,
  { verdict, reads }: Pick<ReadFinding, "verdict" | "reads">,
): InstanceRecord {
  if (verdict === "failed") return { ...record, proven: false };
  return { ...record, proven: true, provenReads: provenReads + reads };
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

function stateAfter({ kind }: DeliveryOutcome): DeliveryState {
  switch (kind) {
    case "delivered":
    case "unchanged":
      return "stored";
    case "rejected":
      return "refused";
    case "file-only":
    case "unreachable":
    case "unsupported":
      return kind;
    default:
      return kind satisfies never;
  }
}

function detailAfter(outcome: DeliveryOutcome): string | undefined {
  if (outcome.file.kind === "failed") {
    return `failed to write the configuration file: ${outcome.file.detail}`;
  }
  return "detail" in outcome ? outcome.detail : undefined;
}
