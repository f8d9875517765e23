import {
  type AgentStatus,
  type CallOptions,
  type Candidate,
  type Clock,
  Deadline,
  type ImageReference,
  messageOf,
  type NodeView,
  type Observer,
} from "../model/mod.ts";
import type { CredentialStore } from "../credentials/mod.ts";
import { daemonStatus } from "./daemon_status.ts";
import { type Deliverer, Deliveries } from "./deliveries.ts";
import { MountRecords } from "./mount_records.ts";
import { Selections, type Selector } from "./candidate_selection.ts";
import { Mounts } from "./mounts.ts";
import { OnRequest } from "./on_request.ts";
import { Renewals, type Resolver } from "./renewals.ts";
import { ReadGuard } from "./read_guard.ts";
import type { ReadCounter } from "./read_watch.ts";
import { type TriggerReason, Triggers } from "./triggers.ts";
import { reportViewChanges } from "./view_changes.ts";

/** Finds the live RAFS instances (the discover room, seen from here). */
export interface Discoverer {
  look(options?: CallOptions): Promise<NodeView>;
}

/** The stages that a reload of the configuration may replace. */
export interface ReconcileStages {
  readonly discoverer: Discoverer;
  readonly resolver: Resolver;
  readonly deliverer: Deliverer;
  /** A credential for a mount that has none, when no provider has one either. */
  readonly remembered?: (image: ImageReference) => Candidate | undefined;
  /** Tells whether reads fail; without it nobody watches them. */
  readonly readCounter?: ReadCounter;
  readonly checkIntervalMs: number;
  /** False: look and report, renew and deliver nothing. */
  readonly renewalEnabled: boolean;
  /** Whether an image's credential may be shown to hosts that nobody named; default `warn`. */
  readonly unapprovedHostPolicy?: "warn" | "refuse";
}

/** What the reconciler needs for its whole life. */
export interface ReconcilerOptions {
  readonly store: CredentialStore;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly inUseDelayMs: (version: string) => number | undefined;
  /** Chooses between credentials; without it the first that is found is taken. */
  readonly selector?: Selector;
}

/** Passes that events trigger keep at least this distance. */
const EVENT_GAP_MS = 200;
/** Passes that retry failed deliveries keep at least this one. */
const RETRY_GAP_MS = 500;
/** While something is down the next pass comes this soon, then less and less often. */
const TROUBLED_FIRST_MS = 1_000;
const TROUBLED_MAX_MS = 10_000;
/** Every request to a daemon that does not answer leaves a connection in its queue. */
const HUNG_MAX_MS = 30_000;
/** How long the first reconcile waits for slow providers before the agent calls itself ready. */
const FIRST_RENEWALS_MS = 30_000;

/**
 * Reconcile loop: discover instances, diff desired against observed credentials, renew entries that
 * are due, deliver changes. Level-triggered: every pass repairs what went wrong before it; events
 * only trigger an earlier pass.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #triggers: Triggers;
  readonly #renewals: Renewals;
  readonly #deliveries: Deliveries;
  readonly #reads: ReadGuard;
  /** Answers programs and people on this node. */
  readonly onRequest: OnRequest;
  #stages: ReconcileStages;
  #view: NodeView = { daemons: [], problems: [] };
  readonly #book = new MountRecords();
  readonly #mounts = new Mounts();
  /** Monotonic times at which the last pass started and the next one is due. */
  #startedAtMs = 0;
  #nextAtMs = 0;
  /** Passes in a row that found a daemon down or a source of discovery failing. */
  #troubledPasses = 0;
  #first: { readonly atMs: number } | undefined;
  #last:
    | { readonly atMs: number; readonly monotonicMs: number; readonly durationMs: number }
    | undefined;

  constructor(options: ReconcilerOptions, stages: ReconcileStages) {
    this.#options = options;
    this.#stages = stages;
    this.#triggers = new Triggers(options.clock);
    this.#renewals = new Renewals({
      ...options,
      resolver: () => this.#stages.resolver,
      selections: new Selections({
        ...options,
        selector: options.selector,
        mounts: this.#mounts,
        book: this.#book,
      }),
      inSync: (key) => {
        this.#deliveries.subject(key);
        this.#triggers.nudge();
      },
    });
    this.onRequest = new OnRequest({
      ...options,
      renewals: this.#renewals,
      resolver: () => this.#stages.resolver,
    });
    this.#deliveries = new Deliveries({
      ...options,
      book: this.#book,
      mounts: this.#mounts,
      deliverer: () => this.#stages.deliverer,
      isQuerying: (key) => this.#renewals.isQuerying(key),
      remembered: (image) => this.#stages.remembered?.(image),
      unapprovedHostPolicy: () => this.#stages.unapprovedHostPolicy ?? "warn",
      inSync: () => this.#triggers.nudge(),
    });
    this.#reads = new ReadGuard({
      ...options,
      deliveries: this.#deliveries,
      renewals: this.#renewals,
      daemons: () => this.#view.daemons,
      counter: () => this.#stages.renewalEnabled ? this.#stages.readCounter : undefined,
      reconcileSoon: () => this.#triggers.fire("reads-failing"),
    });
  }

  /**
   * Runs until aborted, then lets deliveries under way end. `ready` is called once, when the first
   * reconcile is done: every live image was asked for and every mount compared.
   */
  async run({ signal, ready }: { signal: AbortSignal; ready?: () => void }): Promise<void> {
    try {
      await this.#reconcile("start", signal);
      await this.#firstRenewals(signal);
      this.#first = { atMs: this.#options.clock.wallMs() };
      ready?.();
      await Promise.all([this.#loop(signal), this.#reads.run({ signal })]);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await Promise.all([this.#renewals.stop(), this.#deliveries.stop()]);
    }
  }

  /** Reconciles when a trigger fires or the next pass is due; renews what is due in between. */
  async #loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const trigger = await this.#triggers.wait(this.#waitMs(), { signal });
      if (trigger !== undefined) await this.#keepDistance(signal);
      const isDue = this.#options.clock.monotonicMs() >= this.#nextAtMs;
      if (trigger !== undefined || isDue) await this.#reconcile(trigger ?? "interval", signal);
      this.#renewDue();
    }
  }

  /** One pass. */
  async #reconcile(trigger: TriggerReason, signal: AbortSignal): Promise<void> {
    const { clock, observer } = this.#options;
    const startedMs = clock.monotonicMs();
    const found = await this.#discover(signal);
    if (found !== undefined) {
      reportViewChanges(this.#view, found, observer);
      this.#view = found;
      this.#deliveries.observe(found.daemons, startedMs);
    }
    this.#syncStore();
    if (this.#stages.renewalEnabled) {
      this.#renewDue();
      this.#deliveries.all();
    }
    const durationMs = clock.monotonicMs() - startedMs;
    this.#last = { atMs: clock.wallMs(), monotonicMs: clock.monotonicMs(), durationMs };
    this.#troubledPasses = isFailing(this.#view) ? this.#troubledPasses + 1 : 0;
    this.#startedAtMs = startedMs;
    this.#nextAtMs = startedMs +
      pauseMs(this.#view, this.#troubledPasses, this.#stages.checkIntervalMs);
    observer.notify({
      kind: "reconcile-finished",
      trigger,
      durationMs,
      daemons: this.#view.daemons.length,
      instances: this.#view.daemons.reduce((sum, { instances }) => sum + instances.length, 0),
      images: this.#mounts.subjects.size,
    });
  }

  /** Undefined when discovery fails, which is a defect: what it found before stays in force. */
  async #discover(signal: AbortSignal): Promise<NodeView | undefined> {
    try {
      return await this.#stages.discoverer.look({ signal });
    } catch (error) {
      if (signal.aborted) throw error;
      const text = messageOf(error);
      this.#options.observer.notify({ kind: "warning", code: "reconcile-failed", text });
      return undefined;
    }
  }

  /** Gives every image with a mount an entry in the store, and drops the others. */
  #syncStore(): void {
    const { store, clock, observer } = this.#options;
    const { subjects } = this.#mounts;
    const nowMs = clock.wallMs();
    for (const [key, { subject }] of subjects) {
      if (store.ensure(subject, nowMs)) continue;
      const text = `the store is full: ${key} is not kept fresh`;
      observer.notify({ kind: "warning", code: "store-full", text });
    }
    const minAgeMs = store.settings.refreshIntervalMs / 2;
    for (const { text: image, endpoint } of store.evict(subjects, nowMs, minAgeMs)) {
      const place = endpoint && { endpoint: endpoint.text };
      observer.notify({ kind: "credential-evicted", image, ...place });
    }
  }

  /** Looks soon: a socket appeared, a person asked, a daemon vanished. */
  trigger(reason: TriggerReason): void {
    this.#triggers.fire(reason);
  }

  /** A source changed: ask for every image, or one alone, without waiting for any to be due. */
  recheck(only?: ImageReference): void {
    if (!this.#stages.renewalEnabled) return;
    this.#renewals.recheck(only);
  }

  /** A configuration file of a daemon was touched by someone. */
  fileTouched(path: string): void {
    this.#deliveries.suspectFile(path);
    this.#triggers.fire("node-changed");
  }

  /** Goes on with other stages, after a reload. What is known stays. */
  replace(stages: ReconcileStages): void {
    this.#stages = stages;
    this.#nextAtMs = 0;
    this.recheck();
    this.#triggers.fire("requested");
  }

  /** The state of everything, without a secret. */
  status(): Omit<AgentStatus, "version" | "startedAtMs" | "configHash"> {
    const { store, clock } = this.#options;
    const nowMs = clock.wallMs();
    return {
      nowMs,
      ...(this.#first && { firstReconcileAtMs: this.#first.atMs }),
      ...(this.#last && {
        lastReconcileAtMs: this.#last.atMs,
        lastReconcileMs: this.#last.durationMs,
        loopAgeMs: clock.monotonicMs() - this.#last.monotonicMs,
      }),
      images: [...store.entries()].map((entry) => store.status(entry, nowMs)),
      daemons: this.#view.daemons.map((daemon) =>
        daemonStatus(
          daemon,
          this.#deliveries,
          store,
          nowMs,
          (key) => this.#reads.failingSinceMs(key),
        )
      ),
      problems: this.#view.problems,
    };
  }

  #renewDue(): void {
    if (!this.#stages.renewalEnabled) return;
    const { store, clock } = this.#options;
    this.#renewals.start(store.due(clock.wallMs()));
  }

  async #firstRenewals(signal: AbortSignal): Promise<void> {
    using late = new Deadline(undefined, signal);
    const sleep = this.#options.clock.sleep(FIRST_RENEWALS_MS, late);
    try {
      await Promise.race([sleep, this.#renewals.idle()]);
      await Promise.race([sleep, this.#deliveries.idle()]);
    } finally {
      late.abort();
      await sleep.catch(() => {});
    }
    signal.throwIfAborted();
  }

  /** A storm of events causes a few passes per second, not one each. */
  async #keepDistance(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const restMs = this.#startedAtMs + EVENT_GAP_MS - clock.monotonicMs();
    if (restMs > 0) await clock.sleep(restMs, { signal });
  }

  /** How long the loop may sleep: until a pass, a renewal or a retry is due. */
  #waitMs(): number {
    const { clock, store } = this.#options;
    const monotonicMs = clock.monotonicMs();
    const retryAtMs = this.#book.nextRetryAtMs();
    if (retryAtMs !== undefined) {
      const soonest = Math.max(retryAtMs, this.#startedAtMs + RETRY_GAP_MS);
      this.#nextAtMs = Math.min(this.#nextAtMs, soonest);
    }
    const passMs = this.#nextAtMs - monotonicMs;
    const dueAtMs = this.#stages.renewalEnabled ? this.#renewals.nextDueAtMs() : undefined;
    const renewMs = dueAtMs === undefined ? Infinity : dueAtMs - clock.wallMs();
    return Math.max(0, Math.min(passMs, renewMs, store.settings.refreshIntervalMs));
  }
}

/** Whether a daemon is down or a source of discovery fails. */
function isFailing({ daemons, problems }: NodeView): boolean {
  return problems.length > 0 || daemons.some(({ state }) => state !== "running");
}

/** The pause after the last of so many troubled passes in a row, in milliseconds. */
export function pauseMs(
  { daemons, problems }: NodeView,
  troubledPasses: number,
  checkIntervalMs: number,
): number {
  if (troubledPasses === 0) return checkIntervalMs;
  const down = daemons.filter(({ state }) => state !== "running");
  const isOnlyHung = problems.length === 0 && down.every(({ state }) => state === "unresponsive");
  const backoffMs = TROUBLED_FIRST_MS * 2 ** Math.min(troubledPasses - 1, 10);
  return Math.min(backoffMs, isOnlyHung ? HUNG_MAX_MS : TROUBLED_MAX_MS, checkIntervalMs);
}
