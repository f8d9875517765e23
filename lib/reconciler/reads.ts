import {
  type CallOptions,
  type Daemon,
  type InstanceKey,
  type RafsInstance,
  Refusals,
  type Secret,
  Semaphore,
  sleepToNextTick,
} from "../model/mod.ts";
import type { ReadCounter, ReconcilerContext } from "./context.ts";
import {
  isInSyncSince,
  type ReadFinding,
  recordAfterReads,
  recordKeyOf,
  storeKeyOf,
} from "./mounts.ts";
import type { Renewals } from "./renewals.ts";

/** Within the ten seconds in which a refused credential is to be replaced. */
const POLL_INTERVAL_MS = 4_800;
/** Revocations often come in series: after a forced renewal reads are polled more often. */
const FAST_POLL_INTERVAL_MS = 400;
const FAST_POLL_MS = 30_000;
/** A failure without another read since then does not describe the current state. */
const FAILURE_EXPIRES_MS = 10 * 60_000;

/** Consecutive failed reads of a mount, and its `registry_auth` at the time. */
interface FailingReads {
  readonly sinceMs: number;
  readonly lastMs: number;
  readonly currentAuth: Secret | undefined;
}

/**
 * Monitors the reads of all mounts. When reads fail with the desired credential, its source is
 * requested for a newer one.
 */
export class ReadMonitor {
  readonly #context: ReconcilerContext;
  readonly #renewals: Renewals;
  /** Triggers a reconcile. */
  readonly #trigger: () => void;
  readonly #tracker = new ReadTracker();
  readonly #refusals = new Refusals();
  readonly #failing = new Map<InstanceKey, FailingReads>();
  /** By store key: fingerprint of the credential with which reads succeeded last. */
  readonly #worked = new Map<string, string>();
  #lastForcedMs = -Infinity;

  constructor(context: ReconcilerContext, renewals: Renewals, trigger: () => void) {
    this.#context = context;
    this.#renewals = renewals;
    this.#trigger = trigger;
  }

  /**
   * Returns since when (wall time) the reads of a mount fail although it has the desired
   * credential; undefined if they do not, or if its credential has changed since.
   */
  failingSinceMs(key: InstanceKey): number | undefined {
    const { clock, records } = this.#context;
    const failing = this.#failing.get(key);
    if (failing === undefined) return undefined;
    if (clock.wallMs() - failing.lastMs > FAILURE_EXPIRES_MS) return undefined;
    const { currentAuth } = records.get(key);
    return isSameAuth(currentAuth, failing.currentAuth) ? failing.sinceMs : undefined;
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
    const { clock, mounts, stages } = this.#context;
    const { readCounter, renewalEnabled } = stages();
    if (readCounter === undefined || !renewalEnabled) return;
    this.#removeStale();
    const findings = await this.#tracker.poll(
      [...mounts.daemons.values()],
      readCounter,
      clock.wallMs(),
      options,
    );
    /** Whether reads with a suspect credential had succeeded, by store key. */
    const suspects = new Map<string, boolean>();
    for (const finding of findings) {
      const key = storeKeyOf(finding.instance);
      const judgement = this.#judge(finding);
      if (finding.verdict === "failed") this.#recordFailure(finding, judgement !== "unrelated");
      else this.#recordSuccess(finding);
      if (key === undefined || judgement === "unrelated") continue;
      suspects.set(key, suspects.get(key) === true || judgement === "worked");
    }
    if (findings.some(({ verdict }) => verdict === "failed")) this.#trigger();
    for (const [key, worked] of suspects) this.#forceRenewal(key, worked);
  }

  /**
   * Records the reads of a mount and returns what they mean for its credential: nothing, that it is
   * suspect, or that it is although reads with it succeeded before (`worked`). Failed reads count
   * against the credential only if the mount used it for all of them.
   */
  #judge(finding: ReadFinding): "unrelated" | "suspect" | "worked" {
    const { records, inUseDelayMs } = this.#context;
    const { daemon, instance, verdict, sinceMs } = finding;
    const key = recordKeyOf(instance);
    const record = records.get(key);
    const delayMs = inUseDelayMs(daemon.version ?? "") ?? 0;
    const inUse = isInSyncSince(record, sinceMs - delayMs);
    if (inUse || verdict === "failed") records.set(key, recordAfterReads(record, finding));
    if (!inUse || verdict !== "failed") return "unrelated";
    return record.proven === true ? "worked" : "suspect";
  }

  #removeStale(): void {
    const { store } = this.#context;
    for (const key of this.#failing.keys()) {
      if (this.failingSinceMs(key) === undefined) this.#failing.delete(key);
    }
    this.#refusals.keepOnly({ has: (key) => store.get(key) !== undefined });
    for (const key of this.#worked.keys()) if (!store.get(key)) this.#worked.delete(key);
  }

  /**
   * Records that reads succeed since a mount has its credential. This is weaker than
   * `#judge`, which waits until nydusd is known to use the credential: if reads
   * with the previous one failed, a success is sufficient.
   */
  #recordSuccess({ instance, sinceMs }: ReadFinding): void {
    const { records, store } = this.#context;
    const recordKey = recordKeyOf(instance);
    this.#failing.delete(recordKey);
    const key = storeKeyOf(instance);
    const stored = key === undefined ? undefined : store.get(key)?.stored;
    const isInSync = isInSyncSince(records.get(recordKey), sinceMs);
    if (key !== undefined && stored && isInSync) this.#worked.set(key, stored.fingerprint);
  }

  /** Records failed reads with the desired credential, or without any credential. */
  #recordFailure({ instance }: ReadFinding, isSuspect: boolean): void {
    const { clock, records } = this.#context;
    const key = recordKeyOf(instance);
    const { currentAuth, state } = records.get(key);
    if (!isSuspect && state !== "none" && currentAuth?.isEmpty === false) return;
    const before = this.#failing.get(key);
    const lastMs = clock.wallMs();
    const isSame = before !== undefined && isSameAuth(before.currentAuth, currentAuth);
    this.#failing.set(key, { sinceMs: isSame ? before.sinceMs : lastMs, lastMs, currentAuth });
  }

  /** Requests a newer credential past cache and backoff, unless that was done recently. */
  #forceRenewal(key: string, worked: boolean): void {
    const { clock, store, observer } = this.#context;
    const entry = store.get(key);
    if (entry?.stored === undefined) return;
    const { provider, fingerprint } = entry.stored;
    const refused = { fingerprint, worked: worked || this.#worked.get(key) === fingerprint };
    if (!this.#refusals.mayForce(key, clock.monotonicMs(), refused)) return;
    this.#lastForcedMs = clock.monotonicMs();
    const source = provider === "adopted" ? "found in nydusd" : `from ${provider}`;
    const text = `reads of ${key} fail with the credential ${source}; requesting a newer one`;
    observer.notify({ kind: "warning", code: "reads-failing", text });
    this.#renewals.start([entry], { refused });
  }
}

function isSameAuth(a: Secret | undefined, b: Secret | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

interface Counters {
  readonly pid: number | undefined;
  readonly reads: number;
  readonly errors: number;
  readonly atMs: number;
}

/** Daemons polled concurrently. */
const MAX_PARALLEL = 8;

/**
 * Tracks the read counters of all mounts. nydusd does not report why a read failed, but a rising
 * error count is the only feedback on a credential that there is.
 */
export class ReadTracker {
  readonly #counters = new Map<InstanceKey, Counters>();

  /** Polls the counters of all mounts and returns those that changed. */
  async poll(
    daemons: readonly Daemon[],
    counter: ReadCounter,
    nowMs: number,
    options: CallOptions,
  ): Promise<readonly ReadFinding[]> {
    const live = new Set(daemons.flatMap(({ instances }) => instances.map(recordKeyOf)));
    for (const key of this.#counters.keys()) if (!live.has(key)) this.#counters.delete(key);
    const semaphore = new Semaphore(MAX_PARALLEL);
    const findings = await Promise.all(
      daemons.filter(({ state }) => state === "running").map((daemon) =>
        semaphore.run(() => this.#pollDaemon(daemon, counter, nowMs, options))
      ),
    );
    return findings.flat();
  }

  /** Polls the mounts of a daemon until it does not answer. */
  async #pollDaemon(
    daemon: Daemon,
    counter: ReadCounter,
    nowMs: number,
    options: CallOptions,
  ): Promise<readonly ReadFinding[]> {
    const findings: ReadFinding[] = [];
    for (const instance of daemon.instances) {
      const { mountId } = instance;
      if (mountId === undefined) continue;
      const result = await counter.backendReads(daemon.apiSocket, { ...options, mountId });
      if (result.kind === "refused") continue;
      if (result.kind !== "ok") break;
      const finding = this.#compare(daemon, instance, result.value, nowMs);
      if (finding !== undefined) findings.push(finding);
    }
    return findings;
  }

  #compare(
    daemon: Daemon,
    instance: RafsInstance,
    { reads, errors }: { readonly reads: number; readonly errors: number },
    nowMs: number,
  ): ReadFinding | undefined {
    const key = recordKeyOf(instance);
    const before = this.#counters.get(key);
    this.#counters.set(key, { pid: daemon.pid, reads, errors, atMs: nowMs });
    // A new process starts counting at zero.
    if (before === undefined || before.pid !== daemon.pid || reads < before.reads) return undefined;
    if (reads === before.reads && errors === before.errors) return undefined;
    const verdict = errors > before.errors ? "failed" : "succeeded";
    return { daemon, instance, verdict, reads: reads - before.reads, sinceMs: before.atMs };
  }
}
