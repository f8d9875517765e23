import {
  type CallOptions,
  type Clock,
  type Daemon,
  type InstanceKey,
  instanceKey,
  type Observer,
  Refusals,
  type Secret,
} from "../model/mod.ts";
import type { CredentialStore } from "../credentials/mod.ts";
import type { Deliveries } from "./deliveries.ts";
import { isUsedSince } from "./mount_records.ts";
import { type ReadCounter, type ReadFinding, ReadWatch } from "./read_watch.ts";
import { storeKeyOf } from "./mounts.ts";
import type { Renewals } from "./renewals.ts";

/** What the guard works with. */
export interface ReadGuardOptions {
  readonly clock: Clock;
  readonly observer: Observer;
  readonly store: CredentialStore;
  readonly deliveries: Deliveries;
  readonly renewals: Renewals;
  readonly daemons: () => readonly Daemon[];
  /** Undefined: nobody watches. */
  readonly counter: () => ReadCounter | undefined;
  /** Looks soon. */
  readonly reconcileSoon: () => void;
}

/** How often reads are counted: well within the ten seconds in which a refusal is to be mended. */
const COUNT_EVERY_MS = 3_000;
/** How often after a forced fetch, and for how long: revocations often come in series. */
const COUNT_AFTER_REFUSAL_MS = 500;
const AFTER_REFUSAL_MS = 30_000;

/** A failure without a read after it says little about now. */
const FAILURE_COUNTS_MS = 10 * 60_000;

/** Reads of a mount that failed in a row, and what it held meanwhile. */
interface FailingReads {
  readonly sinceMs: number;
  readonly lastMs: number;
  readonly currentAuth: Secret | undefined;
}

/** Closes the loop from the consumer back to the source: what is refused renews itself. */
export class ReadGuard {
  readonly #options: ReadGuardOptions;
  readonly #watch = new ReadWatch();
  readonly #refusals = new Refusals();
  readonly #failing = new Map<InstanceKey, FailingReads>();
  /** By key of the store: fingerprint of the credential with which reads succeeded last. */
  readonly #worked = new Map<string, string>();
  #lastForcedMs = -Infinity;

  constructor(options: ReadGuardOptions) {
    this.#options = options;
  }

  /**
   * Since when (wall time) the reads of a mount fail although it uses what it should; undefined
   * while they do not, and from when it was given something else.
   */
  failingSinceMs(key: InstanceKey): number | undefined {
    const { clock, deliveries } = this.#options;
    const failing = this.#failing.get(key);
    if (failing === undefined || clock.wallMs() - failing.lastMs > FAILURE_COUNTS_MS) {
      return undefined;
    }
    return isSame(deliveries.book.get(key).currentAuth, failing.currentAuth)
      ? failing.sinceMs
      : undefined;
  }

  /** Runs until aborted; rejects with the signal's reason. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    while (!signal.aborted) {
      const { clock } = this.#options;
      const isAfterRefusal = clock.monotonicMs() - this.#lastForcedMs < AFTER_REFUSAL_MS;
      await clock.sleep(isAfterRefusal ? COUNT_AFTER_REFUSAL_MS : COUNT_EVERY_MS, { signal });
      await this.#turn({ signal });
    }
  }

  async #turn(options: CallOptions): Promise<void> {
    const { clock, counter, daemons, store, deliveries } = this.#options;
    const source = counter();
    if (source === undefined) return;
    for (const key of this.#failing.keys()) {
      if (this.failingSinceMs(key) === undefined) this.#failing.delete(key);
    }
    const findings = await this.#watch.turn(daemons(), source, clock.wallMs(), options);
    this.#refusals.keepOnly({ has: (key) => store.get(key) !== undefined });
    for (const key of this.#worked.keys()) if (!store.get(key)) this.#worked.delete(key);
    /** By key of the store: whether what is doubted had worked, and in how many mounts it fails. */
    const doubted = new Map<string, { readonly worked: boolean; readonly mounts: number }>();
    let failed = false;
    for (const finding of findings) {
      const key = storeKeyOf(finding.instance);
      const judgement = deliveries.judge(finding);
      this.#remember(finding, judgement !== "no-doubt");
      failed ||= finding.verdict === "failed";
      if (finding.verdict === "succeeded") this.#noteSuccess(finding);
      if (key === undefined || judgement === "no-doubt") continue;
      const { worked = false, mounts = 0 } = doubted.get(key) ?? {};
      doubted.set(key, { worked: worked || judgement === "worked", mounts: mounts + 1 });
    }
    if (failed) this.#options.reconcileSoon();
    for (const [key, { worked, mounts }] of doubted) this.#force(key, worked, mounts);
  }

  /**
   * Records that reads succeed since a mount was given its credential. That is less than the proof
   * of {@linkcode Deliveries.judge}, which waits until nydusd is known to use it: where reads with
   * the one before were refused, success is enough.
   */
  #noteSuccess({ daemon, instance, sinceMs }: ReadFinding): void {
    const { deliveries, store } = this.#options;
    const key = storeKeyOf(instance);
    const stored = key === undefined ? undefined : store.get(key)?.stored;
    const record = deliveries.book.get(instanceKey(daemon.id, instance.snapshotId));
    if (key === undefined || stored === undefined || !isUsedSince(record, sinceMs)) return;
    this.#worked.set(key, stored.fingerprint);
  }

  /** What fails with the credential that it should have, or because nobody has one. */
  #remember({ daemon, instance, verdict }: ReadFinding, doubtful: boolean): void {
    const { clock, deliveries } = this.#options;
    const key = instanceKey(daemon.id, instance.snapshotId);
    const { currentAuth, state } = deliveries.book.get(key);
    if (verdict === "succeeded") this.#failing.delete(key);
    else if (doubtful || state === "none" || currentAuth?.isEmpty !== false) {
      const before = this.#failing.get(key);
      const lastMs = clock.wallMs();
      const sinceMs = before !== undefined && isSame(before.currentAuth, currentAuth)
        ? before.sinceMs
        : lastMs;
      this.#failing.set(key, { sinceMs, lastMs, currentAuth });
    }
  }

  /** Fetches past cache and backoff, if this image's turn has come again. */
  #force(key: string, worked: boolean, mounts: number): void {
    const { clock, store, renewals, observer } = this.#options;
    const entry = store.get(key);
    if (entry?.stored === undefined) return;
    const { provider, fingerprint } = entry.stored;
    const refused = { fingerprint, worked: worked || this.#worked.get(key) === fingerprint };
    if (!this.#refusals.mayForce(key, clock.monotonicMs(), refused)) return;
    this.#lastForcedMs = clock.monotonicMs();
    const whose = provider === "adopted" ? "they had before" : `of ${provider}`;
    const text = `reads of ${key} fail in ${mounts} mounts although they hold the credential ` +
      `${whose}: its source is asked for a newer one`;
    observer.notify({ kind: "warning", code: "reads-failing", text });
    renewals.start([entry], { refused });
  }
}

function isSame(a: Secret | undefined, b: Secret | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}
