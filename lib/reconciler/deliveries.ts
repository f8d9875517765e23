import {
  type Credential,
  credentialFingerprint,
  defined,
  type DeliveryOutcome,
  type DeliveryState,
  encodeRegistryAuth,
  messageOf,
  Semaphore,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { ReconcilerContext } from "./context.ts";
import { type InstanceRecord, isPaused, type Mount, recordAfterDelivery } from "./mounts.ts";
import { type InstancePlan, planInstance } from "./plan.ts";
import { subjectFields } from "./renewals.ts";

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
  readonly #semaphore = new Semaphore(MAX_PARALLEL);
  readonly #scheduled = new Set<string>();
  readonly #inFlight = new Map<string, Promise<void>>();
  #stopped = false;

  constructor(context: ReconcilerContext) {
    this.#context = context;
  }

  /** Marks a configuration file as changed: its credential is checked by the next delivery. */
  invalidateFile(path: string): void {
    for (const mount of this.#context.mounts.all) {
      if (mount.instance.configPath !== path) continue;
      const { fileFingerprint: _, ...record } = mount.record;
      mount.record = record;
    }
  }

  /** Schedules all daemons, or those with mounts of a store key. */
  schedule(key?: string): void {
    const { mounts } = this.#context;
    const ids = key === undefined
      ? mounts.byDaemon.keys()
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
      else this.#context.wake();
    });
    this.#inFlight.set(daemonId, work);
  }

  async #deliverToDaemon(daemonId: string): Promise<void> {
    this.#scheduled.delete(daemonId);
    for (const mount of this.#context.mounts.byDaemon.get(daemonId) ?? []) {
      if (this.#stopped) return;
      const { state } = mount.daemon;
      try {
        const outcome = await this.#reconcile(mount);
        if (outcome?.kind === "unreachable" && state === "running") return;
      } catch (error) {
        const name = `mount ${mount.instance.snapshotId} of daemon ${daemonId}`;
        const text = `failed to deliver to ${name}: ${messageOf(error)}; ` +
          "retrying on the next reconcile; please report this defect";
        this.#context.observer.notify({ kind: "warning", code: "delivery-error", text });
      }
    }
  }

  /** Plans one mount and executes the plan. */
  async #reconcile(mount: Mount): Promise<DeliveryOutcome | undefined> {
    const { store, clock, observer, stages } = this.#context;
    const { remembered, unapprovedHostPolicy = "warn" } = stages();
    const { daemon, instance, record } = mount;
    const subject = subjectOf(instance);
    const plan = planInstance({
      daemon,
      instance,
      record,
      entry: subject && store.get(subjectKey(subject)),
      remembered: instance.image && remembered?.(instance.image),
      unapprovedHostPolicy,
      nowMs: clock.wallMs(),
    });
    this.#reportUnapproved(mount, plan);
    switch (plan.kind) {
      case "no-op":
        this.#recordState(mount, plan);
        return undefined;
      case "adopt": {
        const { credential, origin } = plan.candidate;
        if (subject && store.adopt(subject, plan.candidate)) {
          const fingerprint = credentialFingerprint(credential);
          const fields = subjectFields(subject);
          observer.notify({ kind: "credential-adopted", ...fields, fingerprint, origin });
          // The adopted credential may be one that this mount does not have.
          return await this.#reconcile(mount);
        }
        // Its provider withdrew it, so that the store does not adopt it.
        this.#recordState(mount, {
          state: record.currentAuth === undefined ? "none" : "adopted",
          detail: "no provider has a credential for this image",
        });
        return undefined;
      }
      case "deliver":
        if (isPaused(record, plan.credential, clock.monotonicMs())) return undefined;
        return await this.#deliver(mount, plan.credential);
      default:
        return plan satisfies never;
    }
  }

  /** Reports unapproved hosts once per mount, and again when the hosts or the action change. */
  #reportUnapproved(mount: Mount, { unapproved }: InstancePlan): void {
    const { unapproved: before, ...record } = mount.record;
    if (before?.action === unapproved?.action && `${before?.hosts}` === `${unapproved?.hosts}`) {
      return;
    }
    mount.record = defined({ ...record, unapproved });
    if (unapproved === undefined) return;
    this.#context.observer.notify({
      kind: "unapproved-host",
      ...mountFields(mount),
      ...unapproved,
    });
  }

  async #deliver(mount: Mount, credential: Credential): Promise<DeliveryOutcome> {
    const { clock, observer, stages } = this.#context;
    const { daemon, instance } = mount;
    const startedMs = clock.monotonicMs();
    const outcome = await stages().deliverer.deliver({ daemon, instance, credential });
    const nowMs = clock.monotonicMs();
    const durationMs = nowMs - startedMs;
    observer.notify({ kind: "delivery-attempted", ...mountFields(mount), outcome, durationMs });
    const delivered = defined({
      fingerprint: credentialFingerprint(credential),
      auth: credential.kind === "basic" ? encodeRegistryAuth(credential) : undefined,
    });
    const now = { wallMs: clock.wallMs(), monotonicMs: nowMs };
    this.#record(mount, recordAfterDelivery(mount.record, outcome, delivered, now));
    return outcome;
  }

  /** Records the state of a mount that needs no delivery. */
  #recordState(
    mount: Mount,
    { state, detail }: { readonly state: DeliveryState; readonly detail?: string },
  ): void {
    const { retryAtMs: _, ...record } = mount.record;
    const sinceMs = record.storedAtMs ?? this.#context.clock.wallMs();
    const storedAtMs = state === "stored" ? sinceMs : undefined;
    this.#record(mount, defined({ ...record, state, detail, storedAtMs, failures: 0 }));
  }

  #record(mount: Mount, after: InstanceRecord): void {
    const { state: from } = mount.record;
    mount.record = after;
    const { state: to, detail } = after;
    if (from === to) return;
    this.#context.observer.notify(defined({
      kind: "delivery-state-changed" as const,
      ...mountFields(mount),
      from,
      to,
      detail,
    }));
  }
}

/** The fields by which events identify a mount. */
function mountFields({ daemon: { id }, instance: { snapshotId, image } }: Mount) {
  return { daemonId: id, snapshotId, image: image?.text ?? "" };
}
