import {
  type CallOptions,
  type Candidate,
  type Clock,
  type Credential,
  credentialFingerprint,
  type Daemon,
  defined,
  type DeliveryOutcome,
  type DeliveryRequest,
  type DeliveryState,
  encodeRegistryAuth,
  type ImageReference,
  messageOf,
  type Observer,
  type RafsInstance,
  Semaphore,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { CredentialStore } from "../credentials/mod.ts";
import {
  type InstanceRecord,
  isInSyncSince,
  isPaused,
  type MountRecords,
  type Mounts,
  type ReadFinding,
  recordAfterDelivery,
  recordAfterDiscovery,
  recordAfterReads,
  recordKeyOf,
  storeKeyOf,
} from "./mounts.ts";
import { type InstancePlan, planInstance } from "./plan.ts";
import { subjectFields } from "./renewals.ts";

/** Delivers one credential to one mount; see `Deliverer` of the delivery package. */
export interface Deliverer {
  deliver(request: DeliveryRequest, options?: CallOptions): Promise<DeliveryOutcome>;
}

/** Dependencies of {@linkcode Deliveries}. */
export interface DeliveriesOptions {
  readonly records: MountRecords;
  readonly mounts: Mounts;
  readonly store: CredentialStore;
  readonly deliverer: () => Deliverer;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Whether a renewal of a store key is in flight. */
  readonly isRenewing: (key: string) => boolean;
  /** Returns the credential of an earlier pull, for a mount without one. */
  readonly remembered: (image: ImageReference) => Candidate | undefined;
  readonly unapprovedHostPolicy: () => "warn" | "refuse";
  /** Delay after which a nydusd version uses a stored credential; undefined if unknown. */
  readonly inUseDelayMs: (version: string) => number | undefined;
  /** Called when the work for a daemon has completed. */
  readonly onCompleted: () => void;
}

/** What failed reads mean for a credential; `worked`: reads with it had succeeded before. */
export type ReadJudgement = "unrelated" | "suspect" | "worked";

/**
 * Brings the credentials in nydusd in line with the store. Daemons are processed concurrently, the
 * mounts of one daemon in sequence: an unresponsive daemon does not delay the others.
 */
export class Deliveries {
  readonly records: MountRecords;
  readonly #options: DeliveriesOptions;
  readonly #mounts: Mounts;
  readonly #queue: DeliveryQueue;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.records = options.records;
    this.#mounts = options.mounts;
    this.#queue = new DeliveryQueue({
      work: (id, keys) => this.#deliverToDaemon(id, keys),
      onError: (id, error) => this.#reportDefect(`daemon ${id}`, error),
      onCompleted: options.onCompleted,
    });
  }

  /**
   * Updates the mounts and their records after discovery.
   *
   * @param startedMs Monotonic time at which discovery started.
   */
  observe(daemons: readonly Daemon[], startedMs: number): void {
    const before = this.#mounts.daemons;
    this.#mounts.replace(daemons);
    this.records.keepOnly(new Set(daemons.flatMap(({ instances }) => instances.map(recordKeyOf))));
    for (const daemon of daemons) {
      const known = before.get(daemon.id);
      const replaced = known !== undefined &&
        (known.pid !== daemon.pid || known.apiSocket !== daemon.apiSocket);
      for (const instance of daemon.instances) {
        const key = recordKeyOf(instance);
        const record = this.records.get(key);
        const after = recordAfterDiscovery(record, daemon, instance, startedMs, replaced);
        this.records.set(key, after);
      }
    }
  }

  /** Marks a configuration file as changed: its credential is checked by the next delivery. */
  invalidateFile(path: string): void {
    for (const daemon of this.#mounts.daemons.values()) {
      for (const instance of daemon.instances) {
        if (instance.configPath !== path) continue;
        const key = recordKeyOf(instance);
        const { fileFingerprint: _, ...record } = this.records.get(key);
        this.records.set(key, record);
      }
    }
  }

  /** Schedules all mounts. */
  scheduleAll(): void {
    for (const id of this.#mounts.daemons.keys()) this.#queue.mark(id);
  }

  /** Schedules the mounts of a store key. */
  schedule(key: string): void {
    const ids = new Set(this.#mounts.of(key).map(({ daemon }) => daemon.id));
    for (const id of ids) this.#queue.mark(id, key);
  }

  /** Resolves when no delivery is scheduled or in flight. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Completes the deliveries in flight and starts no others. */
  stop(): Promise<void> {
    return this.#queue.stop();
  }

  /** Returns the state of a record; `stored` becomes `in-use` when the delay of nydusd is over. */
  stateOf(daemon: Daemon, { state, storedAtMs, proven }: InstanceRecord): DeliveryState {
    if (state !== "stored" || storedAtMs === undefined) return state;
    const delayMs = this.#options.inUseDelayMs(daemon.version ?? "") ?? Infinity;
    if (this.#options.clock.wallMs() - storedAtMs < delayMs) return "stored";
    return proven === true ? "proven" : "in-use";
  }

  /**
   * Records the reads of a mount and returns what they mean for its credential. Failed reads count
   * against the credential only if the mount used it for all of them.
   */
  judge(finding: ReadFinding): ReadJudgement {
    const { daemon, instance, verdict, sinceMs } = finding;
    const key = recordKeyOf(instance);
    const record = this.records.get(key);
    const delayMs = this.#options.inUseDelayMs(daemon.version ?? "") ?? 0;
    const inUse = isInSyncSince(record, sinceMs - delayMs);
    if (inUse || verdict === "failed") this.records.set(key, recordAfterReads(record, finding));
    if (!inUse || verdict !== "failed") return "unrelated";
    return record.proven === true ? "worked" : "suspect";
  }

  async #deliverToDaemon(daemonId: string, keys: StoreKeys): Promise<void> {
    const daemon = this.#mounts.daemons.get(daemonId);
    if (daemon === undefined) return;
    for (const instance of daemon.instances) {
      if (keys !== "all" && !keys.has(storeKeyOf(instance) ?? "")) continue;
      if (this.#queue.stopped) return;
      const outcome = await this.#reconcile(daemon, instance).catch((error: unknown) => {
        this.#reportDefect(`mount ${instance.snapshotId} of daemon ${daemon.id}`, error);
        return undefined;
      });
      if (outcome?.kind === "unreachable" && daemon.state === "running") return;
    }
  }

  #reportDefect(target: string, error: unknown): void {
    const text = `failed to deliver to ${target}: ${messageOf(error)}; ` +
      "retrying on the next reconcile; please report this defect";
    this.#options.observer.notify({ kind: "warning", code: "delivery-error", text });
  }

  /** Plans one mount and executes the plan. */
  async #reconcile(daemon: Daemon, instance: RafsInstance): Promise<DeliveryOutcome | undefined> {
    const { store, clock, observer, isRenewing, remembered, unapprovedHostPolicy } = this.#options;
    const record = this.records.get(recordKeyOf(instance));
    const { image } = instance;
    const subject = subjectOf(instance);
    const key = subject && subjectKey(subject);
    const entry = key === undefined ? undefined : store.get(key);
    const plan = planInstance({
      daemon,
      instance,
      record,
      entry,
      remembered: image && remembered(image),
      resolving: key !== undefined && entry?.stored === undefined && isRenewing(key),
      unapprovedHostPolicy: unapprovedHostPolicy(),
      nowMs: clock.wallMs(),
    });
    this.#reportUnapproved(daemon, instance, plan);
    switch (plan.kind) {
      case "no-op":
        this.#recordState(daemon, instance, plan);
        return undefined;
      case "adopt": {
        const { credential, origin } = plan.candidate;
        if (subject && store.adopt(subject, plan.candidate, clock.wallMs())) {
          const fingerprint = credentialFingerprint(credential);
          const fields = subjectFields(subject);
          observer.notify({ kind: "credential-adopted", ...fields, fingerprint, origin });
          // The adopted credential may be one that this mount does not have.
          return await this.#reconcile(daemon, instance);
        }
        // Its provider withdrew it, so that the store does not adopt it.
        this.#recordState(daemon, instance, {
          state: record.currentAuth === undefined ? "none" : "adopted",
          detail: "no provider has a credential for this image",
        });
        return undefined;
      }
      case "deliver":
        if (isPaused(record, plan.credential, clock.monotonicMs())) return undefined;
        return await this.#deliver(daemon, instance, plan.credential);
      default:
        return plan satisfies never;
    }
  }

  /** Reports unapproved hosts once per mount, and again when the hosts or the action change. */
  #reportUnapproved(daemon: Daemon, instance: RafsInstance, { unapproved }: InstancePlan): void {
    const key = recordKeyOf(instance);
    const { unapproved: before, ...record } = this.records.get(key);
    if (before?.action === unapproved?.action && `${before?.hosts}` === `${unapproved?.hosts}`) {
      return;
    }
    this.records.set(key, defined({ ...record, unapproved }));
    if (unapproved === undefined) return;
    this.#options.observer.notify({
      kind: "unapproved-host",
      ...mountFields(daemon, instance),
      ...unapproved,
    });
  }

  async #deliver(
    daemon: Daemon,
    instance: RafsInstance,
    credential: Credential,
  ): Promise<DeliveryOutcome> {
    const { clock, observer, deliverer } = this.#options;
    const startedMs = clock.monotonicMs();
    let outcome: DeliveryOutcome;
    try {
      outcome = await deliverer().deliver({ daemon, instance, credential });
    } catch (error) {
      outcome = { kind: "unreachable", detail: messageOf(error), file: { kind: "skipped" } };
    }
    const nowMs = clock.monotonicMs();
    observer.notify({
      kind: "delivery-attempted",
      ...mountFields(daemon, instance),
      outcome,
      durationMs: nowMs - startedMs,
    });
    const before = this.records.get(recordKeyOf(instance));
    const delivered = defined({
      fingerprint: credentialFingerprint(credential),
      auth: credential.kind === "basic" ? encodeRegistryAuth(credential) : undefined,
    });
    const now = { wallMs: clock.wallMs(), monotonicMs: nowMs };
    this.#record(daemon, instance, before, recordAfterDelivery(before, outcome, delivered, now));
    return outcome;
  }

  /** Records the state of a mount that needs no delivery. */
  #recordState(
    daemon: Daemon,
    instance: RafsInstance,
    { state, detail }: { readonly state: DeliveryState; readonly detail?: string },
  ): void {
    const before = this.records.get(recordKeyOf(instance));
    const { retryAtMs: _, ...rest } = before;
    const sinceMs = before.storedAtMs ?? this.#options.clock.wallMs();
    const storedAtMs = state === "stored" ? sinceMs : undefined;
    const after = defined({ ...rest, state, detail, storedAtMs, failures: 0 });
    this.#record(daemon, instance, before, after);
  }

  #record(
    daemon: Daemon,
    instance: RafsInstance,
    before: InstanceRecord,
    after: InstanceRecord,
  ): void {
    this.records.set(recordKeyOf(instance), after);
    if (before.state === after.state) return;
    this.#options.observer.notify(defined({
      kind: "delivery-state-changed" as const,
      ...mountFields(daemon, instance),
      from: before.state,
      to: after.state,
      detail: after.detail,
    }));
  }
}

/** The fields by which events identify a mount. */
function mountFields({ id }: Daemon, { snapshotId, image }: RafsInstance) {
  return { daemonId: id, snapshotId, image: image?.text ?? "" };
}

/** The store keys whose mounts of a daemon are scheduled, or all of its mounts. */
export type StoreKeys = ReadonlySet<string> | "all";

/** Daemons processed concurrently. */
const MAX_PARALLEL = 16;

/** Options of a {@linkcode DeliveryQueue}. */
export interface DeliveryQueueOptions {
  /** Reconciles the mounts of one daemon. */
  readonly work: (daemonId: string, keys: StoreKeys) => Promise<void>;
  /** Called when `work` rejects, which is a defect. */
  readonly onError: (daemonId: string, error: unknown) => void;
  /** Called when the work for a daemon has completed. */
  readonly onCompleted: () => void;
}

/**
 * Queue of the daemons with scheduled mounts.
 *
 * Invariants: at most one `work` per daemon is in flight, so that the PUTs to one daemon never
 * overlap (no other place serializes them); a daemon that is marked meanwhile is processed again;
 * an error of `work` stops neither the queue nor the agent.
 */
export class DeliveryQueue {
  readonly #options: DeliveryQueueOptions;
  readonly #semaphore = new Semaphore(MAX_PARALLEL);
  readonly #marked = new Map<string, Set<string> | "all">();
  readonly #running = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();

  constructor(options: DeliveryQueueOptions) {
    this.#options = options;
  }

  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Schedules the mounts of one store key, or all mounts of a daemon. */
  mark(daemonId: string, key?: string): void {
    const marked = this.#marked.get(daemonId);
    if (key === undefined) this.#marked.set(daemonId, "all");
    else if (marked === undefined) this.#marked.set(daemonId, new Set([key]));
    else if (marked !== "all") marked.add(key);
    this.#start(daemonId);
  }

  /** Resolves when no daemon is scheduled or in flight. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  /** Completes the work in flight and starts no other. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.idle();
  }

  #start(daemonId: string): void {
    if (this.#running.has(daemonId) || this.stopped) return;
    const work = this.#semaphore.run(() => this.#process(daemonId))
      .catch((error: unknown) => this.#options.onError(daemonId, error))
      .then(() => {
        this.#running.delete(daemonId);
        if (this.#marked.has(daemonId)) this.#start(daemonId);
        else this.#options.onCompleted();
      });
    this.#running.set(daemonId, work);
  }

  async #process(daemonId: string): Promise<void> {
    while (!this.stopped) {
      const keys = this.#marked.get(daemonId);
      this.#marked.delete(daemonId);
      if (keys === undefined) return;
      await this.#options.work(daemonId, keys);
    }
  }
}
