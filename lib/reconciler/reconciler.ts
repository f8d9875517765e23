import {
  type AgentStatus,
  type CallOptions,
  type Clock,
  type Daemon,
  type DaemonStatus,
  Deadline,
  defined,
  type DeliveryState,
  type ImageReference,
  type InstanceStatus,
  messageOf,
  type NodeView,
  type Observer,
  tokenExpiryOf,
} from "../model/mod.ts";
import type { StoreEntry } from "../credentials/mod.ts";
import type { ReconcilerContext, ReconcileStages, TriggerReason } from "./context.ts";
import { Deliveries } from "./deliveries.ts";
import {
  decodeCurrentAuth,
  type InstanceRecord,
  type Mount,
  Mounts,
  readsFailingSinceMs,
  storeKeyOf,
} from "./mounts.ts";
import { OnDemandRequests } from "./on_demand.ts";
import { ReadMonitor } from "./reads.ts";
import { Renewals, subjectFields } from "./renewals.ts";

/** Minimum interval between passes that events trigger. */
const EVENT_INTERVAL_MS = 200;
/** Minimum interval between passes that retry failed deliveries. */
const RETRY_INTERVAL_MS = 500;
/** Backoff of passes while a daemon is down or a source of discovery fails. */
const FAILING_FIRST_MS = 1_000;
const FAILING_MAX_MS = 10_000;
/** How long slow providers delay the readiness of the agent. */
const FIRST_RENEWALS_MS = 30_000;

/**
 * Reconcile loop: discover instances, diff desired against observed credentials, renew entries that
 * are due, deliver changes. Level-triggered: every pass repairs what went wrong before it; events
 * only trigger an earlier pass.
 *
 * Invariants: at most one pass is in flight; renewals and deliveries run in the background, so that
 * a pass waits for discovery only; a failed discovery leaves the previous view in place.
 */
export class Reconciler {
  readonly #context: ReconcilerContext;
  #stages: ReconcileStages;
  readonly #triggers: Triggers;
  readonly #renewals: Renewals;
  readonly #deliveries: Deliveries;
  readonly #reads: ReadMonitor;
  readonly onDemand: OnDemandRequests;
  #view: NodeView = { daemons: [], problems: [] };
  /** Monotonic times at which the last pass started and the next one is due. */
  #startedAtMs = 0;
  #nextAtMs = 0;
  /** Consecutive passes in which a daemon was down or a source of discovery failed. */
  #failingPasses = 0;
  #firstReconcileAtMs: number | undefined;
  #last:
    | { readonly atMs: number; readonly monotonicMs: number; readonly durationMs: number }
    | undefined;

  /** @param options The parts that a reload does not replace. */
  constructor(
    options: Omit<ReconcilerContext, "mounts" | "stages" | "wake">,
    stages: ReconcileStages,
  ) {
    this.#stages = stages;
    this.#triggers = new Triggers(options.clock);
    const wake = (reason?: TriggerReason) => this.#triggers.wake(reason);
    const context = { ...options, mounts: new Mounts(), stages: () => this.#stages, wake };
    this.#context = context;
    this.#deliveries = new Deliveries(context);
    this.#renewals = new Renewals(context, (key) => {
      this.#deliveries.schedule(key);
      wake();
    });
    this.onDemand = new OnDemandRequests(context, this.#renewals);
    this.#reads = new ReadMonitor(context, this.#renewals);
  }

  /**
   * Runs until aborted, then completes the deliveries in flight. Calls `ready` once after the first
   * reconcile: the credential of every image was requested and every mount compared.
   */
  async run({ signal, ready }: { signal: AbortSignal; ready?: () => void }): Promise<void> {
    try {
      await this.#reconcile("start", signal);
      await this.#firstRenewals(signal);
      this.#firstReconcileAtMs = this.#context.clock.wallMs();
      ready?.();
      await Promise.all([this.#loop(signal), this.#reads.run({ signal })]);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await Promise.all([this.#renewals.stop(), this.#deliveries.stop()]);
    }
  }

  /** Reconciles on a trigger and when the next pass is due; renews what is due in between. */
  async #loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const trigger = await this.#triggers.wait(this.#waitMs(), { signal });
      if (trigger !== undefined) await this.#limitRate(signal);
      const isDue = this.#context.clock.monotonicMs() >= this.#nextAtMs;
      if (trigger !== undefined || isDue) await this.#reconcile(trigger ?? "interval", signal);
      this.#renewDue();
    }
  }

  /** One pass: discover, update the store, start renewals and deliveries. */
  async #reconcile(trigger: TriggerReason, signal: AbortSignal): Promise<void> {
    const { clock, observer, mounts } = this.#context;
    const startedMs = clock.monotonicMs();
    const found = await this.#discover(signal);
    if (found !== undefined) {
      reportViewChanges(this.#view, found, observer);
      this.#view = found;
      mounts.observe(found.daemons, startedMs);
    }
    this.#updateStore();
    if (this.#stages.renewalEnabled) {
      this.#renewDue();
      this.#deliveries.schedule();
    }
    const { daemons, problems } = this.#view;
    const isFailing = problems.length > 0 || daemons.some(({ state }) => state !== "running");
    this.#failingPasses = isFailing ? this.#failingPasses + 1 : 0;
    this.#startedAtMs = startedMs;
    this.#nextAtMs = startedMs + passDelayMs(this.#failingPasses, this.#stages.checkIntervalMs);
    const nowMs = clock.monotonicMs();
    const durationMs = nowMs - startedMs;
    this.#last = { atMs: clock.wallMs(), monotonicMs: nowMs, durationMs };
    observer.notify({
      kind: "reconcile-finished",
      trigger,
      durationMs,
      daemons: daemons.length,
      instances: mounts.all.length,
      images: mounts.subjects.size,
    });
  }

  /** Returns undefined when discovery throws, which is a defect. */
  async #discover(signal: AbortSignal): Promise<NodeView | undefined> {
    try {
      return await this.#stages.discoverer.discover({ signal });
    } catch (error) {
      if (signal.aborted) throw error;
      const text = `failed to discover instances: ${messageOf(error)}; ` +
        "retrying on the next reconcile; please report this defect";
      this.#context.observer.notify({ kind: "warning", code: "reconcile-failed", text });
      return undefined;
    }
  }

  /** Adds an entry for every mounted image and evicts those without a mount. */
  #updateStore(): void {
    const { store, clock, observer } = this.#context;
    const { subjects } = this.#context.mounts;
    for (const subject of subjects.values()) store.ensure(subject);
    const minAgeMs = store.settings.refreshIntervalMs / 2;
    for (const subject of store.evict(subjects, clock.wallMs(), minAgeMs)) {
      observer.notify({ kind: "credential-evicted", ...subjectFields(subject) });
    }
  }

  #renewDue(): void {
    if (!this.#stages.renewalEnabled) return;
    const { store, clock } = this.#context;
    this.#renewals.start(store.due(clock.wallMs()));
  }

  /** Triggers a pass, for example because a socket appeared or on user request. */
  trigger(reason: TriggerReason): void {
    this.#triggers.wake(reason);
  }

  /** Renews all images, or one, because a source changed. */
  recheck(only?: ImageReference): void {
    if (this.#stages.renewalEnabled) this.#renewals.recheck(only);
  }

  /** Handles a change of a daemon's configuration file. */
  fileTouched(path: string): void {
    this.#deliveries.invalidateFile(path);
    this.#triggers.wake("node-changed");
  }

  /** Replaces the stages after a reload and reconciles. */
  replace(stages: ReconcileStages): void {
    this.#stages = stages;
    this.#nextAtMs = 0;
    this.recheck();
    this.#triggers.wake("requested");
  }

  /** Returns the status of all images and daemons, without secrets. */
  status(): Omit<AgentStatus, "version" | "startedAtMs" | "configHash"> {
    const { store, clock } = this.#context;
    const nowMs = clock.wallMs();
    return defined({
      nowMs,
      firstReconcileAtMs: this.#firstReconcileAtMs,
      lastReconcileAtMs: this.#last?.atMs,
      lastReconcileMs: this.#last?.durationMs,
      loopAgeMs: this.#last && clock.monotonicMs() - this.#last.monotonicMs,
      images: [...store.entries()].map((entry) => store.status(entry, nowMs)),
      daemons: this.#view.daemons.map((daemon) => daemonStatus(daemon, this.#context, nowMs)),
      problems: this.#view.problems,
    });
  }

  async #firstRenewals(signal: AbortSignal): Promise<void> {
    using deadline = new Deadline(undefined, signal);
    const sleep = this.#context.clock.sleep(FIRST_RENEWALS_MS, deadline);
    const idle = this.#renewals.idle().then(() => this.#deliveries.idle());
    await Promise.race([sleep, idle]);
    deadline.abort();
  }

  /** Limits passes to a few per second, however many events arrive. */
  async #limitRate(signal: AbortSignal): Promise<void> {
    const { clock } = this.#context;
    const waitMs = this.#startedAtMs + EVENT_INTERVAL_MS - clock.monotonicMs();
    if (waitMs > 0) await clock.sleep(waitMs, { signal });
  }

  /** Returns how long to wait until a pass, a renewal or the retry of a delivery is due. */
  #waitMs(): number {
    const { clock, store, mounts } = this.#context;
    const retryAtMs = Math.max(mounts.nextRetryAtMs(), this.#startedAtMs + RETRY_INTERVAL_MS);
    this.#nextAtMs = Math.min(this.#nextAtMs, retryAtMs);
    const passMs = this.#nextAtMs - clock.monotonicMs();
    const dueAtMs = this.#stages.renewalEnabled ? this.#renewals.nextDueAtMs() : Infinity;
    const renewalMs = dueAtMs - clock.wallMs();
    return Math.max(0, Math.min(passMs, renewalMs, store.settings.refreshIntervalMs));
  }
}

/** Returns the delay (ms) until the next pass: the check interval, or a backoff while failing. */
export function passDelayMs(failingPasses: number, checkIntervalMs: number): number {
  if (failingPasses === 0) return checkIntervalMs;
  return Math.min(FAILING_FIRST_MS * 2 ** (failingPasses - 1), FAILING_MAX_MS, checkIntervalMs);
}

/** Reports which daemons and discovery problems differ between two views. */
export function reportViewChanges(before: NodeView, after: NodeView, observer: Observer): void {
  const known = new Map(before.daemons.map(({ id, state }) => [id, state]));
  for (const { id, state, stateDetail } of after.daemons) {
    const from = known.get(id);
    known.delete(id);
    if (from === state) continue;
    const kind = "daemon-state-changed" as const;
    observer.notify(defined({ kind, daemonId: id, from, to: state, detail: stateDetail }));
  }
  for (const [id, from] of known) {
    observer.notify({ kind: "daemon-state-changed", daemonId: id, from, to: "gone" });
  }
  for (const { source, subject, detail } of after.problems) {
    const isKnown = before.problems.some((problem) =>
      problem.source === source && problem.subject === subject && problem.detail === detail
    );
    if (!isKnown) observer.notify({ kind: "discovery-problem", source, subject, detail });
  }
  for (const { source, subject } of before.problems) {
    const persists = after.problems.some((one) => one.source === source && one.subject === subject);
    if (!persists) observer.notify({ kind: "discovery-recovered", source, subject });
  }
}

/** States in which a mount keeps the credential that nydusd has. */
const UNDELIVERABLE: readonly DeliveryState[] = ["refused", "unsupported", "file-only", "withheld"];

/** Returns the status of a daemon and its mounts. */
function daemonStatus(daemon: Daemon, context: ReconcilerContext, nowMs: number): DaemonStatus {
  const { id, apiSocket, source, state, pid, stateDetail, version, mode } = daemon;
  const mounts = context.mounts.byDaemon.get(id) ?? [];
  const instances = mounts.map((mount) => mountStatus(mount, context, nowMs));
  return defined({ id, pid, apiSocket, source, state, stateDetail, version, mode, instances });
}

function mountStatus(
  mount: Mount,
  { store, inUseDelayMs }: ReconcilerContext,
  nowMs: number,
): InstanceStatus {
  const { daemon, instance, record } = mount;
  const { snapshotId, image, imageProblem, mountId, endpoint } = instance;
  const key = storeKeyOf(instance);
  const entry = key === undefined ? undefined : store.get(key);
  return defined({
    snapshotId,
    image: image?.text,
    imageProblem,
    mountId,
    endpoint: endpoint?.target?.text,
    host: endpoint?.host,
    hostApprovedBy: endpoint?.hosts.find(({ role }) => role === "registry")?.approvedBy,
    unapprovedHosts: record.unapproved?.hosts,
    readsFailingSinceMs: readsFailingSinceMs(mount, nowMs),
    delivery: stateOf(record, nowMs, inUseDelayMs(daemon.version ?? "")),
    provenReads: record.provenReads,
    deliveryDetail: record.detail,
    deliveredAtMs: record.deliveredAtMs,
    behindSinceMs: record.behindSinceMs,
    file: record.file?.kind,
    readsFailAtMs: readsFailAtMs(daemon, record, entry, nowMs),
  });
}

/** Returns the state of a record; `stored` becomes `in-use` when the delay of nydusd is over. */
function stateOf(
  { state, storedAtMs, provenReads }: InstanceRecord,
  nowMs: number,
  delayMs = Infinity,
): DeliveryState {
  if (state !== "stored" || storedAtMs === undefined) return state;
  if (nowMs - storedAtMs < delayMs) return "stored";
  return provenReads === undefined ? "in-use" : "proven";
}

/**
 * Returns until when a mount can read if no source answers from now on: the expiry of the stored
 * credential if it can be delivered, else of the one in nydusd. Undefined if no expiry is known.
 */
export function readsFailAtMs(
  daemon: Daemon,
  { state, currentAuth }: InstanceRecord,
  entry: StoreEntry | undefined,
  nowMs: number,
): number | undefined {
  const stored = entry?.stored;
  if (stored === undefined) return undefined;
  const ours = stored.candidate.expiresAtMs;
  const canDeliver = daemon.state === "running" && !UNDELIVERABLE.includes(state);
  // A nydusd without a configuration API does not report the credential that it started with.
  if (currentAuth === undefined || currentAuth.isEmpty) return canDeliver ? ours : undefined;
  if (stored.registryAuth?.equals(currentAuth)) return ours;
  const credential = decodeCurrentAuth(currentAuth);
  const theirs = credential && tokenExpiryOf(credential, nowMs).expiresAtMs;
  if (!canDeliver) return theirs;
  // A credential that expires later is not replaced.
  return ours === undefined || theirs === undefined ? ours : Math.max(ours, theirs);
}

/** Wakes the reconcile loop. The first trigger that fires while the loop is busy is kept. */
export class Triggers {
  readonly #clock: Clock;
  #pending: TriggerReason | undefined;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Triggers a reconcile; without a reason only ends the wait. */
  wake(reason?: TriggerReason): void {
    this.#pending ??= reason;
    this.#wake?.();
  }

  /** Resolves to the trigger; to undefined after `ms` or without one. Rejects when aborted. */
  async wait(ms: number, { signal }: CallOptions = {}): Promise<TriggerReason | undefined> {
    signal?.throwIfAborted();
    if (this.#pending === undefined) {
      using woken = new Deadline(undefined, signal);
      this.#wake = () => woken.abort();
      await this.#clock.sleep(ms, woken).catch(() => {}); // only aborted
      this.#wake = undefined;
      signal?.throwIfAborted();
    }
    const reason = this.#pending;
    this.#pending = undefined;
    return reason;
  }
}
