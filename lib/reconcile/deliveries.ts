import {
  type CallOptions,
  type Clock,
  type Credential,
  credentialFingerprint,
  type Daemon,
  type DeliveryOrder,
  type DeliveryOutcome,
  type DeliveryState,
  Gate,
  messageOf,
  type Observer,
  type RafsInstance,
  Turns,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../store/mod.ts";
import {
  givenBy,
  InstanceBook,
  type InstanceRecord,
  isSettledWith,
  recordAfter,
} from "./instance_book.ts";
import { Mounts, observed } from "./mounts.ts";
import { planInstance } from "./plan.ts";
import type { ReadFinding } from "./read_watch.ts";

/** Brings one credential to one mount (the deliver room, seen from here). */
export interface Deliverer {
  deliver(order: DeliveryOrder, options?: CallOptions): Promise<DeliveryOutcome>;
}

/** What deliveries need. */
export interface DeliveriesOptions {
  readonly store: CredentialStore;
  readonly deliverer: () => Deliverer;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Whether the providers are being asked for an image. */
  readonly isAsking: (image: string) => boolean;
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
  readonly book = new InstanceBook();
  readonly #options: DeliveriesOptions;
  readonly #gate = new Gate(MAX_PARALLEL);
  readonly #turns: Turns;
  readonly #mounts = new Mounts();
  /** What to compare in a daemon: the mounts of some images, or every mount. */
  readonly #dirty = new Map<string, Set<string> | "all">();
  readonly #running = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.#turns = new Turns(options.clock);
  }

  /** Takes in a new look: what the daemons hold replaces what we believed. */
  observe(daemons: readonly Daemon[]): void {
    const before = new Map(this.#mounts.daemons);
    if (this.#mounts.take(daemons)) this.book.keepOnly(this.#mounts.live);
    for (const daemon of daemons) {
      const known = before.get(daemon.id);
      // A successor on the same socket may have started from a file that someone else wrote.
      const replaced = known !== undefined && known.pid !== daemon.pid;
      for (const instance of daemon.instances) {
        const key = this.book.keyOf(instance);
        const record = this.book.get(key);
        const next = observed(record, daemon, instance, replaced);
        if (next !== record) this.book.set(key, next);
      }
    }
  }

  /** Forgets that a configuration file was right, after something touched it. */
  doubtFile(path: string): void {
    for (const daemon of this.#mounts.daemons.values()) {
      for (const instance of daemon.instances) {
        if (instance.configPath !== path) continue;
        const key = this.book.keyOf(instance);
        const { fileFingerprint: _, settledWith: __, ...record } = this.book.get(key);
        this.book.set(key, record);
      }
    }
  }

  /** Delivers, where needed, to every mount of every daemon. */
  all(): void {
    for (const id of this.#mounts.daemons.keys()) this.#mark(id);
  }

  /** Delivers, where needed, to the mounts that serve an image. */
  image(image: string): void {
    for (const id of this.#mounts.servedBy(image)) this.#mark(id, image);
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
    const key = this.book.keyOf(instance);
    const record = this.book.get(key);
    const delayMs = this.#options.inUseDelayMs(daemon.version ?? "") ?? 0;
    const inUse = record.state === "stored" && record.storedAtMs !== undefined &&
      record.storedAtMs + delayMs <= sinceMs;
    if (inUse || verdict === "failed") {
      this.book.set(key, { ...record, proven: verdict === "succeeded" });
    }
    return inUse && verdict === "failed";
  }

  #mark(daemonId: string, image?: string): void {
    const marked = this.#dirty.get(daemonId);
    if (image === undefined) this.#dirty.set(daemonId, "all");
    else if (marked === undefined) this.#dirty.set(daemonId, new Set([image]));
    else if (marked !== "all") marked.add(image);
    this.#start(daemonId);
  }

  #start(daemonId: string): void {
    if (this.#running.has(daemonId) || this.#stop.signal.aborted) return;
    const work = this.#gate.run(() => this.#work(daemonId))
      .finally(() => {
        this.#running.delete(daemonId);
        if (this.#dirty.has(daemonId)) this.#start(daemonId);
        else this.#options.settled();
      });
    this.#running.set(daemonId, work);
  }

  async #work(daemonId: string): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const wanted = this.#dirty.get(daemonId);
      const daemon = this.#mounts.daemons.get(daemonId);
      this.#dirty.delete(daemonId);
      if (wanted === undefined || daemon === undefined) return;
      for (const instance of daemon.instances) {
        if (wanted !== "all" && !wanted.has(instance.image?.text ?? "")) continue;
        if (this.#isSettled(daemon, instance)) continue;
        if (this.#turns.isDue) await this.#turns.give();
        if (this.#stop.signal.aborted) return;
        const outcome = await this.#one(daemon, instance);
        if (outcome?.kind === "unreachable" && daemon.state === "running") break;
      }
    }
  }

  /** Whether nothing has changed since this mount was compared and found right. */
  #isSettled({ held }: Daemon, instance: RafsInstance): boolean {
    const { image, mountId } = instance;
    if (image === undefined || mountId === undefined) return false;
    const entry = this.#options.store.get(image.text);
    return isSettledWith(this.book.get(this.book.keyOf(instance)), entry, held?.get(mountId));
  }

  async #one(daemon: Daemon, instance: RafsInstance): Promise<DeliveryOutcome | undefined> {
    const { store, clock, observer, isAsking } = this.#options;
    const key = this.book.keyOf(instance);
    const record = this.book.get(key);
    const image = instance.image?.text;
    const entry = image === undefined ? undefined : store.get(image);
    const plan = planInstance({
      daemon,
      instance,
      record,
      entry,
      resolving: image !== undefined && entry?.stored === undefined && isAsking(image),
      nowMs: clock.wallMs(),
    });
    switch (plan.kind) {
      case "settled":
        this.#settle(daemon, instance, plan, entry);
        return undefined;
      case "adopt":
        if (instance.image && store.adopt(instance.image, plan.candidate, clock.wallMs())) {
          const fingerprint = credentialFingerprint(plan.candidate.credential);
          observer.notify({ kind: "credential-adopted", image: instance.image.text, fingerprint });
        }
        this.#settle(daemon, instance, {
          state: "adopted",
          detail: "no provider has a credential for this image",
        });
        return undefined;
      case "deliver":
        if ((record.retryAtMs ?? 0) > clock.monotonicMs()) return undefined;
        return await this.#deliver(daemon, instance, plan.credential, entry);
    }
  }

  async #deliver(
    daemon: Daemon,
    instance: RafsInstance,
    credential: Credential,
    entry: StoreEntry | undefined,
  ): Promise<DeliveryOutcome> {
    const { clock, observer, deliverer } = this.#options;
    const key = this.book.keyOf(instance);
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
    entry?: StoreEntry,
  ): void {
    const before = this.book.get(this.book.keyOf(instance));
    const { detail: _, retryAtMs: __, settledWith: ___, storedAtMs, ...rest } = before;
    const since = state === "stored" ? storedAtMs ?? this.#options.clock.wallMs() : undefined;
    this.#record(daemon, instance, before, {
      ...rest,
      state,
      failures: 0,
      ...(detail !== undefined && { detail }),
      ...(since !== undefined && { storedAtMs: since }),
      // Anything else depends on more than the two: on time, on the daemon's state.
      ...(state === "stored" && detail === undefined && entry && { settledWith: entry }),
    });
  }

  #record(
    daemon: Daemon,
    instance: RafsInstance,
    before: InstanceRecord,
    after: InstanceRecord,
  ): void {
    const { snapshotId } = instance;
    this.book.set(this.book.keyOf(instance), after);
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
