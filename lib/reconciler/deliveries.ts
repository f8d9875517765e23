import {
  type Credential,
  credentialFingerprint,
  type Daemon,
  defined,
  type DeliveryOutcome,
  type DeliveryState,
  encodeRegistryAuth,
  messageOf,
  type RafsInstance,
  Semaphore,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { ReconcilerContext } from "./context.ts";
import {
  type InstanceRecord,
  isPaused,
  recordAfterDelivery,
  recordAfterDiscovery,
  recordKeyOf,
} from "./mounts.ts";
import { type InstancePlan, planInstance } from "./plan.ts";
import { subjectFields } from "./renewals.ts";

/** Callbacks of {@linkcode Deliveries}. */
interface DeliveriesCallbacks {
  /** Whether a renewal of a store key is in flight. */
  readonly isRenewing: (key: string) => boolean;
  /** Called when the work for a daemon has completed. */
  readonly onCompleted: () => void;
}

/** Daemons processed concurrently. */
const MAX_PARALLEL = 16;

/**
 * Brings the credentials in nydusd in line with the store. Daemons are processed concurrently, the
 * mounts of one daemon in sequence: an unresponsive daemon does not delay the others.
 *
 * Invariants: at most one pass per daemon is in flight, so that the PUTs to one daemon never overlap
 * (no other place serializes them); a daemon that is scheduled meanwhile is processed again; an
 * unexpected error stops neither its daemon nor the agent.
 */
export class Deliveries {
  readonly #context: ReconcilerContext;
  readonly #callbacks: DeliveriesCallbacks;
  readonly #semaphore = new Semaphore(MAX_PARALLEL);
  readonly #scheduled = new Set<string>();
  readonly #inFlight = new Map<string, Promise<void>>();
  #stopped = false;

  constructor(context: ReconcilerContext, callbacks: DeliveriesCallbacks) {
    this.#context = context;
    this.#callbacks = callbacks;
  }

  /**
   * Updates the mounts and their records after discovery.
   *
   * @param startedMs Monotonic time at which discovery started.
   */
  observe(daemons: readonly Daemon[], startedMs: number): void {
    const { mounts, records } = this.#context;
    const before = mounts.daemons;
    mounts.replace(daemons);
    records.keepOnly(new Set(daemons.flatMap(({ instances }) => instances.map(recordKeyOf))));
    for (const daemon of daemons) {
      const known = before.get(daemon.id);
      const replaced = known !== undefined &&
        (known.pid !== daemon.pid || known.apiSocket !== daemon.apiSocket);
      for (const instance of daemon.instances) {
        const key = recordKeyOf(instance);
        const record = records.get(key);
        records.set(key, recordAfterDiscovery(record, daemon, instance, startedMs, replaced));
      }
    }
  }

  /** Marks a configuration file as changed: its credential is checked by the next delivery. */
  invalidateFile(path: string): void {
    const { mounts, records } = this.#context;
    for (const { instances } of mounts.daemons.values()) {
      for (const instance of instances) {
        if (instance.configPath !== path) continue;
        const { fileFingerprint: _, ...record } = records.get(recordKeyOf(instance));
        records.set(recordKeyOf(instance), record);
      }
    }
  }

  /** Schedules all daemons, or those with mounts of a store key. */
  schedule(key?: string): void {
    const { mounts } = this.#context;
    const ids = key === undefined
      ? mounts.daemons.keys()
      : mounts.of(key).map(({ daemon }) => daemon.id);
    for (const id of ids) {
      this.#scheduled.add(id);
      this.#start(id);
    }
  }

  /** Resolves when no delivery is scheduled or in flight. */
  async idle(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight.values());
  }

  /** Completes the deliveries in flight and starts no others. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.idle();
  }

  #start(daemonId: string): void {
    if (this.#inFlight.has(daemonId) || this.#stopped) return;
    const work = this.#semaphore.run(() => this.#deliverToDaemon(daemonId)).then(() => {
      this.#inFlight.delete(daemonId);
      if (this.#scheduled.has(daemonId)) this.#start(daemonId);
      else this.#callbacks.onCompleted();
    });
    this.#inFlight.set(daemonId, work);
  }

  async #deliverToDaemon(daemonId: string): Promise<void> {
    this.#scheduled.delete(daemonId);
    const daemon = this.#context.mounts.daemons.get(daemonId);
    for (const instance of daemon?.instances ?? []) {
      if (daemon === undefined || this.#stopped) return;
      try {
        const outcome = await this.#reconcile(daemon, instance);
        if (outcome?.kind === "unreachable" && daemon.state === "running") return;
      } catch (error) {
        const mount = `mount ${instance.snapshotId} of daemon ${daemonId}`;
        const text = `failed to deliver to ${mount}: ${messageOf(error)}; ` +
          "retrying on the next reconcile; please report this defect";
        this.#context.observer.notify({ kind: "warning", code: "delivery-error", text });
      }
    }
  }

  /** Plans one mount and executes the plan. */
  async #reconcile(daemon: Daemon, instance: RafsInstance): Promise<DeliveryOutcome | undefined> {
    const { store, clock, observer, stages } = this.#context;
    const { remembered, unapprovedHostPolicy = "warn" } = stages();
    const record = this.#context.records.get(recordKeyOf(instance));
    const { image } = instance;
    const subject = subjectOf(instance);
    const key = subject && subjectKey(subject);
    const entry = key === undefined ? undefined : store.get(key);
    const plan = planInstance({
      daemon,
      instance,
      record,
      entry,
      remembered: image && remembered?.(image),
      resolving: key !== undefined && entry?.stored === undefined &&
        this.#callbacks.isRenewing(key),
      unapprovedHostPolicy,
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
    const { unapproved: before, ...record } = this.#context.records.get(key);
    if (before?.action === unapproved?.action && `${before?.hosts}` === `${unapproved?.hosts}`) {
      return;
    }
    this.#context.records.set(key, defined({ ...record, unapproved }));
    if (unapproved === undefined) return;
    this.#context.observer.notify({
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
    const { clock, observer, stages } = this.#context;
    const startedMs = clock.monotonicMs();
    let outcome: DeliveryOutcome;
    try {
      outcome = await stages().deliverer.deliver({ daemon, instance, credential });
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
    const before = this.#context.records.get(recordKeyOf(instance));
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
    const before = this.#context.records.get(recordKeyOf(instance));
    const { retryAtMs: _, ...rest } = before;
    const sinceMs = before.storedAtMs ?? this.#context.clock.wallMs();
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
    this.#context.records.set(recordKeyOf(instance), after);
    if (before.state === after.state) return;
    this.#context.observer.notify(defined({
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
