import { type CallOptions, Refusals, Semaphore, sleepToNextTick } from "../model/mod.ts";
import type { ReconcilerContext, ReconcileStages } from "./context.ts";
import {
  isInSyncSince,
  type Mount,
  type Mounts,
  readsFailingSinceMs,
  storeKeyOf,
} from "./mounts.ts";
import type { Renewals } from "./renewals.ts";

/** Within the ten seconds in which a refused credential is to be replaced. */
const POLL_INTERVAL_MS = 4_800;
/** Revocations often come in series: after a forced renewal reads are polled more often. */
const FAST_POLL_INTERVAL_MS = 800;
const FAST_POLL_MS = 30_000;
/** Daemons polled concurrently. */
const MAX_PARALLEL = 8;

/** The reads of one mount between two polls. */
interface ReadChange {
  readonly mount: Mount;
  /** Whether at least one read failed. */
  readonly failed: boolean;
  readonly reads: number;
  /** Wall time of the previous poll. */
  readonly sinceMs: number;
}

/**
 * Monitors the reads of all mounts. nydusd does not report why a read failed, but a rising error
 * count is the only feedback on a credential that there is: when reads fail with the desired
 * credential, its source is requested for a newer one.
 */
export class ReadMonitor {
  readonly #context: ReconcilerContext;
  readonly #renewals: Renewals;
  readonly #refusals = new Refusals();
  #lastForcedMs = -Infinity;

  constructor(context: ReconcilerContext, renewals: Renewals) {
    this.#context = context;
    this.#renewals = renewals;
  }

  /** Polls until aborted; rejects with the reason of the signal. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { clock } = this.#context;
    while (!signal.aborted) {
      const isFast = clock.monotonicMs() - this.#lastForcedMs < FAST_POLL_MS;
      const intervalMs = isFast ? FAST_POLL_INTERVAL_MS : POLL_INTERVAL_MS;
      await sleepToNextTick(clock, intervalMs, { signal });
      await this.#poll({ signal });
    }
  }

  async #poll(options: CallOptions): Promise<void> {
    const { clock, mounts, stages, wake } = this.#context;
    const { readCounter, renewalEnabled } = stages();
    if (readCounter === undefined || !renewalEnabled) return;
    const changes = await pollReads(mounts, readCounter, clock.wallMs(), options);
    const suspects = new Set<string>();
    for (const change of changes) {
      const key = storeKeyOf(change.mount.instance);
      if (!change.failed) this.#recordSuccess(change, key);
      else if (this.#recordFailure(change) && key !== undefined) suspects.add(key);
    }
    if (changes.some(({ failed }) => failed)) wake("reads-failing");
    for (const key of suspects) this.#forceRenewal(key);
  }

  /**
   * Records failed reads; returns whether the desired credential is suspect: the mount used it for
   * all of them.
   */
  #recordFailure({ mount, sinceMs }: ReadChange): boolean {
    const isSuspect = this.#isUsedSince(mount, sinceMs);
    const { provenReads: _, ...record } = mount.record;
    mount.record = record;
    const { currentAuth, state } = record;
    if (isSuspect || state === "none" || currentAuth?.isEmpty !== false) {
      const nowMs = this.#context.clock.wallMs();
      const before = readsFailingSinceMs(mount, nowMs);
      mount.failing = { sinceMs: before ?? nowMs, lastMs: nowMs, currentAuth };
    }
    return isSuspect;
  }

  #recordSuccess({ mount, reads, sinceMs }: ReadChange, key: string | undefined): void {
    const { record } = mount;
    mount.failing = undefined;
    if (this.#isUsedSince(mount, sinceMs)) {
      mount.record = { ...record, provenReads: (record.provenReads ?? 0) + reads };
    }
    // If reads with the previous credential failed, a success before nydusd is known to use this
    // one is sufficient.
    const stored = key === undefined ? undefined : this.#context.store.get(key)?.stored;
    if (stored && isInSyncSince(record, sinceMs)) mount.workedWith = stored.fingerprint;
  }

  /** Whether nydusd is known to use the desired credential since a wall time. */
  #isUsedSince({ daemon: { version = "" }, record }: Mount, sinceMs: number): boolean {
    return isInSyncSince(record, sinceMs - (this.#context.inUseDelayMs(version) ?? 0));
  }

  /** Requests a newer credential past cache and backoff, unless that was done recently. */
  #forceRenewal(key: string): void {
    const { clock, store, mounts, observer } = this.#context;
    const entry = store.get(key);
    if (entry?.stored === undefined) return;
    const { provider, fingerprint } = entry.stored;
    const worked = mounts.of(key).some(({ workedWith }) => workedWith === fingerprint);
    const refused = { fingerprint, worked };
    if (!this.#refusals.mayForce(key, clock.monotonicMs(), refused)) return;
    this.#lastForcedMs = clock.monotonicMs();
    const source = provider === "adopted" ? "found in nydusd" : `from ${provider}`;
    const text = `reads of ${key} fail with the credential ${source}; requesting a newer one`;
    observer.notify({ kind: "warning", code: "reads-failing", text });
    this.#renewals.start([entry], { refused });
  }
}

type ReadCounter = NonNullable<ReconcileStages["readCounter"]>;

/** Reads the counters of all mounts and returns those that changed since the last poll. */
export async function pollReads(
  { byDaemon }: Pick<Mounts, "byDaemon">,
  counter: ReadCounter,
  nowMs: number,
  options: CallOptions,
): Promise<readonly ReadChange[]> {
  const semaphore = new Semaphore(MAX_PARALLEL);
  const changes = await Promise.all(
    byDaemon.values().map((mounts) =>
      semaphore.run(() => pollDaemon(mounts, counter, nowMs, options))
    ),
  );
  return changes.flat();
}

/** Polls the mounts of a daemon until it does not answer. */
async function pollDaemon(
  mounts: readonly Mount[],
  counter: ReadCounter,
  nowMs: number,
  options: CallOptions,
): Promise<readonly ReadChange[]> {
  const changes: ReadChange[] = [];
  for (const mount of mounts) {
    const { daemon: { state, apiSocket, pid }, instance: { mountId }, counters: before } = mount;
    if (state !== "running" || mountId === undefined) continue;
    const result = await counter.backendReads(apiSocket, { ...options, mountId });
    if (result.kind === "refused") continue;
    if (result.kind !== "ok") break;
    const { reads, errors } = result.value;
    mount.counters = { pid, reads, errors, atMs: nowMs };
    // A new process starts counting at zero.
    if (before === undefined || before.pid !== pid || reads < before.reads) continue;
    if (reads === before.reads && errors === before.errors) continue;
    const failed = errors > before.errors;
    changes.push({ mount, failed, reads: reads - before.reads, sinceMs: before.atMs });
  }
  return changes;
}
