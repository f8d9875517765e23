import {
  type CallOptions,
  type Clock,
  type Credential,
  credentialFingerprint,
  type Daemon,
  type DeliveryOrder,
  type DeliveryOutcome,
  type DeliveryState,
  encodeRegistryAuth,
  Gate,
  type InstanceKey,
  instanceKey,
  messageOf,
  type Observer,
  type RafsInstance,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { CredentialStore } from "../store/mod.ts";
import { type InstanceBook, type InstanceRecord, observed, recordAfter } from "./instance_book.ts";
import { type InstancePlan, planInstance } from "./plan.ts";
import type { ReadFinding } from "./read_watch.ts";

/** Brings one credential to one mount (the deliver room, seen from here). */
export interface Deliverer {
  deliver(order: DeliveryOrder, options?: CallOptions): Promise<DeliveryOutcome>;
}

/** What deliveries need. */
export interface DeliveriesOptions {
  readonly book: InstanceBook;
  readonly store: CredentialStore;
  readonly deliverer: () => Deliverer;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Whether the providers are being asked for a key of the store. */
  readonly isAsking: (key: string) => boolean;
  /** What to do where a credential would be shown to hosts that nobody named. */
  readonly unknownHosts: () => "warn" | "refuse";
  /** How long after `stored` a nydusd of this version uses it; undefined = not known. */
  readonly inUseDelayMs: (version: string) => number | undefined;
  /** Called when a daemon has had its turn. */
  readonly settled: () => void;
}

/** Daemons delivered to side by side. */
const MAX_PARALLEL = 16;

/**
 * Makes every mount hold what it should. Daemons are worked on side by side, the mounts of one
 * daemon one after another; a daemon that does not answer loses its turn, and nobody else's.
 */
export class Deliveries {
  readonly book: InstanceBook;
  readonly #options: DeliveriesOptions;
  readonly #gate = new Gate(MAX_PARALLEL);
  readonly #daemons = new Map<string, Daemon>();
  readonly #dirty = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.book = options.book;
  }

  /** Takes in a new look: what the daemons hold replaces what we believed. */
  observe(daemons: readonly Daemon[]): void {
    const live = new Set<InstanceKey>();
    const before = new Map(this.#daemons);
    this.#daemons.clear();
    for (const daemon of daemons) {
      this.#daemons.set(daemon.id, daemon);
      const known = before.get(daemon.id);
      // A successor on the same socket may have started from a file that someone else wrote.
      const replaced = known !== undefined && known.pid !== daemon.pid;
      for (const instance of daemon.instances) {
        const key = instanceKey(daemon.id, instance.snapshotId);
        live.add(key);
        this.book.set(key, observed(this.book.get(key), daemon, instance, replaced));
      }
    }
    this.book.keepOnly(live);
  }

  /** Forgets that a configuration file was right, after something touched it. */
  doubtFile(path: string): void {
    for (const daemon of this.#daemons.values()) {
      for (const { configPath, snapshotId } of daemon.instances) {
        if (configPath !== path) continue;
        const key = instanceKey(daemon.id, snapshotId);
        const { fileFingerprint: _, ...record } = this.book.get(key);
        this.book.set(key, record);
      }
    }
  }

  /** Delivers, where needed, to every mount of every daemon. */
  all(): void {
    for (const id of this.#daemons.keys()) this.#mark(id);
  }

  /** Delivers, where needed, to the daemons with a mount of this key of the store. */
  subject(key: string): void {
    for (const daemon of this.#daemons.values()) {
      const isOne = (instance: RafsInstance) => {
        const subject = subjectOf(instance);
        return subject !== undefined && subjectKey(subject) === key;
      };
      if (daemon.instances.some(isOne)) this.#mark(daemon.id);
    }
  }

  /** Resolves when nothing is being delivered. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  /** Lets what is under way end, and starts nothing more. */
  async stop(): Promise<void> {
    this.#stop.abort(new DOMException("deliveries stopped", "AbortError"));
    await this.idle();
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
   * Takes in what a mount's reads since `sinceMs` say. True when they failed although all that time
   * the mount was using the credential that it should: then that credential is in doubt.
   */
  judge({ daemon, instance, verdict, sinceMs }: ReadFinding): boolean {
    const key = instanceKey(daemon.id, instance.snapshotId);
    const record = this.book.get(key);
    const delayMs = this.#options.inUseDelayMs(daemon.version ?? "") ?? 0;
    const inUse = record.state === "adopted" ||
      (record.state === "stored" && (record.storedAtMs ?? Infinity) + delayMs <= sinceMs);
    if (inUse || verdict === "failed") {
      this.book.set(key, { ...record, proven: verdict === "succeeded" });
    }
    return inUse && verdict === "failed";
  }

  #mark(daemonId: string): void {
    this.#dirty.add(daemonId);
    if (this.#running.has(daemonId) || this.#stop.signal.aborted) return;
    const work = this.#gate.run(() => this.#work(daemonId))
      .finally(() => {
        this.#running.delete(daemonId);
        if (this.#dirty.has(daemonId)) this.#mark(daemonId);
        else this.#options.settled();
      });
    this.#running.set(daemonId, work);
  }

  async #work(daemonId: string): Promise<void> {
    while (this.#dirty.delete(daemonId) && !this.#stop.signal.aborted) {
      const daemon = this.#daemons.get(daemonId);
      if (daemon === undefined) return;
      for (const instance of daemon.instances) {
        if (this.#stop.signal.aborted) return;
        const outcome = await this.#one(daemon, instance);
        if (outcome?.kind === "unreachable" && daemon.state === "running") break;
      }
    }
  }

  async #one(daemon: Daemon, instance: RafsInstance): Promise<DeliveryOutcome | undefined> {
    const { store, clock, observer, isAsking } = this.#options;
    const key = instanceKey(daemon.id, instance.snapshotId);
    const record = this.book.get(key);
    const subject = subjectOf(instance);
    const subjectName = subject && subjectKey(subject);
    const entry = subjectName === undefined ? undefined : store.get(subjectName);
    const plan = planInstance({
      daemon,
      instance,
      record,
      entry,
      resolving: subjectName !== undefined && entry?.stored === undefined && isAsking(subjectName),
      unknownHosts: this.#options.unknownHosts(),
      nowMs: clock.wallMs(),
    });
    this.#tellUnnamed(daemon, instance, plan);
    switch (plan.kind) {
      case "settled":
        this.#settle(daemon, instance, plan.state, plan.detail);
        return undefined;
      case "adopt":
        if (subject && store.adopt(subject, plan.candidate, clock.wallMs())) {
          const fingerprint = credentialFingerprint(plan.candidate.credential);
          const endpoint = subject.endpoint?.text;
          const names = { image: subject.text, ...(endpoint !== undefined && { endpoint }) };
          observer.notify({ kind: "credential-adopted", ...names, fingerprint });
        }
        this.#settle(daemon, instance, "adopted", "no provider has a credential for this image");
        return undefined;
      case "deliver":
        if ((record.retryAtMs ?? 0) > clock.monotonicMs()) return undefined;
        return await this.#deliver(daemon, instance, plan.credential);
    }
  }

  /** Once for each mount, and again when hosts or decision change. */
  #tellUnnamed(daemon: Daemon, instance: RafsInstance, { unnamed }: InstancePlan): void {
    const key = instanceKey(daemon.id, instance.snapshotId);
    const { unnamed: before, ...record } = this.book.get(key);
    if (before?.action === unnamed?.action && `${before?.hosts}` === `${unnamed?.hosts}`) return;
    this.book.set(key, { ...record, ...(unnamed && { unnamed }) });
    if (unnamed === undefined) return;
    this.#options.observer.notify({
      kind: "unnamed-host",
      daemonId: daemon.id,
      snapshotId: instance.snapshotId,
      image: instance.image?.text ?? "",
      ...unnamed,
    });
  }

  async #deliver(
    daemon: Daemon,
    instance: RafsInstance,
    credential: Credential,
  ): Promise<DeliveryOutcome> {
    const { clock, observer, deliverer } = this.#options;
    const key = instanceKey(daemon.id, instance.snapshotId);
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
    const after = recordAfter(before, outcome, {
      fingerprint: credentialFingerprint(credential),
      ...(credential.kind === "basic" && { auth: encodeRegistryAuth(credential) }),
    }, { wallMs: clock.wallMs(), monotonicMs: clock.monotonicMs() });
    this.#record(daemon, instance, before, after);
    return outcome;
  }

  #settle(daemon: Daemon, instance: RafsInstance, state: DeliveryState, detail?: string): void {
    const before = this.book.get(instanceKey(daemon.id, instance.snapshotId));
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
    this.book.set(instanceKey(daemon.id, snapshotId), after);
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
