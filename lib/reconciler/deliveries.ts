import {
  type CallOptions,
  type Candidate,
  type Clock,
  type Credential,
  credentialFingerprint,
  type Daemon,
  type DeliveryOutcome,
  type DeliveryRequest,
  type DeliveryState,
  type ImageReference,
  messageOf,
  type Observer,
  type RafsInstance,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../credentials/mod.ts";
import {
  givenBy,
  type InstanceRecord,
  isPaused,
  isUsedSince,
  keyOf,
  type MountRecords,
  recordAfter,
  recordAfterReads,
} from "./mount_records.ts";
import { DeliveryQueue, type Wanted } from "./delivery_queue.ts";
import { type Mounts, observed, storeKeyOf } from "./mounts.ts";
import { type InstancePlan, planInstance } from "./plan.ts";
import type { ReadFinding, ReadJudgement } from "./read_watch.ts";

/** Brings one credential to one mount (the deliver room, seen from here). */
export interface Deliverer {
  deliver(order: DeliveryRequest, options?: CallOptions): Promise<DeliveryOutcome>;
}

/** What deliveries need. */
export interface DeliveriesOptions {
  readonly book: MountRecords;
  /** The mounts of the last look; kept here. */
  readonly mounts: Mounts;
  readonly store: CredentialStore;
  readonly deliverer: () => Deliverer;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Whether the providers are being asked for a key of the store. */
  readonly isQuerying: (key: string) => boolean;
  /** A credential for a mount that has none, when no provider has one either. */
  readonly remembered: (image: ImageReference) => Candidate | undefined;
  /** What to do where a credential would be shown to hosts that nobody named. */
  readonly unapprovedHostPolicy: () => "warn" | "refuse";
  /** How long after `stored` a nydusd of this version uses it; undefined = not known. */
  readonly inUseDelayMs: (version: string) => number | undefined;
  /** Called when a daemon has had its turn. */
  readonly inSync: () => void;
}

/**
 * Makes every mount hold what it should. Daemons are worked on side by side, the mounts of one
 * daemon one after another; a daemon that does not answer loses its turn, and nobody else's.
 */
export class Deliveries {
  readonly book: MountRecords;
  readonly #options: DeliveriesOptions;
  readonly #mounts: Mounts;
  readonly #queue: DeliveryQueue;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.book = options.book;
    this.#mounts = options.mounts;
    this.#queue = new DeliveryQueue({
      work: (id, wanted) => this.#work(id, wanted),
      failed: (id, error) => this.#reportDefect(`daemon ${id}`, error),
      inSync: options.inSync,
    });
  }

  /**
   * Takes in what discovery found: what the daemons hold replaces what we believed.
   *
   * @param startedMs Monotonic time at which discovery started.
   */
  observe(daemons: readonly Daemon[], startedMs: number): void {
    const before = this.#mounts.daemons;
    this.#mounts.take(daemons);
    this.book.keepOnly(new Set(daemons.flatMap(({ instances }) => instances.map(keyOf))));
    for (const daemon of daemons) {
      const known = before.get(daemon.id);
      // A successor may have started from a file that someone else wrote.
      const replaced = known !== undefined &&
        (known.pid !== daemon.pid || known.apiSocket !== daemon.apiSocket);
      for (const instance of daemon.instances) {
        const key = keyOf(instance);
        const record = this.book.get(key);
        this.book.set(key, observed(record, daemon, instance, startedMs, replaced));
      }
    }
  }

  /** Forgets that a configuration file was right, after something touched it. */
  suspectFile(path: string): void {
    for (const daemon of this.#mounts.daemons.values()) {
      for (const instance of daemon.instances) {
        if (instance.configPath !== path) continue;
        const key = keyOf(instance);
        const { fileFingerprint: _, ...record } = this.book.get(key);
        this.book.set(key, record);
      }
    }
  }

  /** Delivers, where needed, to every mount of every daemon. */
  all(): void {
    for (const id of this.#mounts.daemons.keys()) this.#queue.mark(id);
  }

  /** Delivers, where needed, to the mounts of this key of the store. */
  subject(key: string): void {
    const ids = new Set(this.#mounts.of(key).map(({ daemon }) => daemon.id));
    for (const id of ids) this.#queue.mark(id, key);
  }

  /** Resolves when nothing is being delivered. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Lets what is under way end, and starts nothing more. */
  stop(): Promise<void> {
    return this.#queue.stop();
  }

  /** A record's state, with the time that has passed since it was stored taken into account. */
  stateOf(daemon: Daemon, record: InstanceRecord): DeliveryState {
    if (record.state !== "stored" || record.storedAtMs === undefined) return record.state;
    const delayMs = this.#options.inUseDelayMs(daemon.version ?? "");
    if (delayMs === undefined) return "stored";
    if (this.#options.clock.wallMs() - record.storedAtMs < delayMs) return "stored";
    return record.proven === true ? "proven" : "in-use";
  }

  /**
   * Takes in what a mount's reads since `sinceMs` say. They speak against the credential that the
   * mount should use only where it was using it all that time.
   */
  judge(finding: ReadFinding): ReadJudgement {
    const { daemon, instance, verdict, sinceMs } = finding;
    const key = keyOf(instance);
    const record = this.book.get(key);
    const delayMs = this.#options.inUseDelayMs(daemon.version ?? "") ?? 0;
    const inUse = isUsedSince(record, sinceMs - delayMs);
    if (inUse || verdict === "failed") this.book.set(key, recordAfterReads(record, finding));
    if (!inUse || verdict !== "failed") return "no-doubt";
    return record.proven === true ? "worked" : "suspect";
  }

  async #work(daemonId: string, wanted: Wanted): Promise<void> {
    const daemon = this.#mounts.daemons.get(daemonId);
    if (daemon === undefined) return;
    for (const instance of daemon.instances) {
      if (wanted !== "all" && !wanted.has(storeKeyOf(instance) ?? "")) continue;
      if (this.#queue.stopped) return;
      const outcome = await this.#one(daemon, instance).catch((error: unknown) => {
        const { snapshotId } = instance;
        this.#reportDefect(`mount ${snapshotId} of daemon ${daemon.id}`, error);
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

  async #one(daemon: Daemon, instance: RafsInstance): Promise<DeliveryOutcome | undefined> {
    const { store, clock, observer, isQuerying } = this.#options;
    const key = keyOf(instance);
    const record = this.book.get(key);
    const subject = subjectOf(instance);
    const subjectName = subject && subjectKey(subject);
    const entry = subjectName === undefined ? undefined : store.get(subjectName);
    const plan = planInstance({
      daemon,
      instance,
      record,
      entry,
      remembered: instance.image && this.#options.remembered(instance.image),
      resolving: subjectName !== undefined && entry?.stored === undefined &&
        isQuerying(subjectName),
      unapprovedHostPolicy: this.#options.unapprovedHostPolicy(),
      nowMs: clock.wallMs(),
    });
    this.#notifyUnapproved(daemon, instance, plan);
    switch (plan.kind) {
      case "in-sync":
        this.#settle(daemon, instance, plan);
        return undefined;
      case "adopt":
        if (subject && store.adopt(subject, plan.candidate, clock.wallMs())) {
          const { credential, origin } = plan.candidate;
          const fingerprint = credentialFingerprint(credential);
          const endpoint = subject.endpoint?.text;
          const names = { image: subject.text, ...(endpoint !== undefined && { endpoint }) };
          observer.notify({ kind: "credential-adopted", ...names, fingerprint, origin });
          // This mount may not hold it yet.
          return await this.#one(daemon, instance);
        }
        // Its provider has withdrawn it.
        this.#settle(daemon, instance, {
          state: record.currentAuth === undefined ? "none" : "adopted",
          detail: "no provider has a credential for this image",
        });
        return undefined;
      case "deliver":
        if (isPaused(record, plan.credential, clock.monotonicMs())) return undefined;
        return await this.#deliver(daemon, instance, plan.credential, entry);
    }
  }

  /** Once for each mount, and again when hosts or decision change. */
  #notifyUnapproved(daemon: Daemon, instance: RafsInstance, { unapproved }: InstancePlan): void {
    const key = keyOf(instance);
    const { unapproved: before, ...record } = this.book.get(key);
    if (before?.action === unapproved?.action && `${before?.hosts}` === `${unapproved?.hosts}`) {
      return;
    }
    this.book.set(key, { ...record, ...(unapproved && { unapproved }) });
    if (unapproved === undefined) return;
    this.#options.observer.notify({
      kind: "unapproved-host",
      daemonId: daemon.id,
      snapshotId: instance.snapshotId,
      image: instance.image?.text ?? "",
      ...unapproved,
    });
  }

  async #deliver(
    daemon: Daemon,
    instance: RafsInstance,
    credential: Credential,
    entry: StoreEntry | undefined,
  ): Promise<DeliveryOutcome> {
    const { clock, observer, deliverer } = this.#options;
    const key = keyOf(instance);
    const startedMs = clock.monotonicMs();
    let outcome: DeliveryOutcome;
    try {
      outcome = await deliverer().deliver({ daemon, instance, credential });
    } catch (error) {
      outcome = { kind: "unreachable", detail: messageOf(error), file: { kind: "skipped" } };
    }
    const image = instance.image?.text ?? "";
    observer.notify({
      kind: "delivery-attempted",
      daemonId: daemon.id,
      snapshotId: instance.snapshotId,
      image,
      outcome,
      durationMs: clock.monotonicMs() - startedMs,
    });
    const before = this.book.get(key);
    const after = recordAfter(before, outcome, givenBy(credential, entry), {
      wallMs: clock.wallMs(),
      monotonicMs: clock.monotonicMs(),
    });
    this.#record(daemon, instance, before, after);
    return outcome;
  }

  #settle(
    daemon: Daemon,
    instance: RafsInstance,
    { state, detail }: { readonly state: DeliveryState; readonly detail?: string },
  ): void {
    const before = this.book.get(keyOf(instance));
    const { detail: _, retryAtMs: __, storedAtMs, ...rest } = before;
    const since = state === "stored" ? storedAtMs ?? this.#options.clock.wallMs() : undefined;
    this.#record(daemon, instance, before, {
      ...rest,
      state,
      failures: 0,
      ...(detail !== undefined && { detail }),
      ...(since !== undefined && { storedAtMs: since }),
    });
  }

  #record(
    daemon: Daemon,
    instance: RafsInstance,
    before: InstanceRecord,
    after: InstanceRecord,
  ): void {
    const { snapshotId } = instance;
    this.book.set(keyOf(instance), after);
    if (before.state === after.state) return;
    this.#options.observer.notify({
      kind: "delivery-state-changed",
      daemonId: daemon.id,
      snapshotId,
      image: instance.image?.text ?? "",
      from: before.state,
      to: after.state,
      ...(after.detail !== undefined && { detail: after.detail }),
    });
  }
}
