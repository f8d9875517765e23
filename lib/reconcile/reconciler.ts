import {
  type AgentStatus,
  type CallOptions,
  type Clock,
  type ImageReference,
  messageOf,
  type NodeView,
  type Observer,
} from "../model/mod.ts";
import type { CredentialStore } from "../store/mod.ts";
import { daemonStatus } from "./daemon_status.ts";
import { type Deliverer, Deliveries } from "./deliveries.ts";
import { Renewals, type Resolver } from "./renewals.ts";
import { ReadGuard } from "./read_guard.ts";
import type { ReadCounter } from "./read_watch.ts";
import { type TriggerReason, Triggers } from "./triggers.ts";
import { ViewChanges } from "./view_changes.ts";

/** Finds the live RAFS instances (the discover room, seen from here). */
export interface Discoverer {
  look(options?: CallOptions): Promise<NodeView>;
}

/** The stages that a reload of the configuration may replace. */
export interface Stages {
  readonly discoverer: Discoverer;
  readonly resolver: Resolver;
  readonly deliverer: Deliverer;
  /** Tells whether reads fail; without it nobody watches them. */
  readonly readCounter?: ReadCounter;
  readonly checkIntervalMs: number;
  /** False: look and report, renew and deliver nothing. */
  readonly renewalEnabled: boolean;
}

/** What the reconciler needs for its whole life. */
export interface ReconcilerOptions {
  readonly store: CredentialStore;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly inUseDelayMs: (version: string) => number | undefined;
}

/** Looks caused by events keep at least this distance. */
const LOOK_GAP_MS = 200;
/** Looks for the sake of failed deliveries keep at least this one. */
const RETRY_GAP_MS = 500;
/** What has settled within this time is taken account of together. */
const RECKON_GAP_MS = 50;
/** A daemon that does not run is looked at again this soon, then less and less often. */
const ABSENT_FIRST_MS = 1_000;
const ABSENT_MAX_MS = 10_000;
/** How long the first reconcile waits for slow providers before the agent calls itself ready. */
const FIRST_RENEWALS_MS = 30_000;

/**
 * Turns the wheel: look at the node, compare, renew what is due, deliver what differs. Level
 * triggered: every look repairs whatever went wrong before it; events only make it look sooner.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #triggers: Triggers;
  readonly #changes = new ViewChanges();
  readonly #renewals: Renewals;
  readonly #deliveries: Deliveries;
  readonly #reads: ReadGuard;
  #stages: Stages;
  #view: NodeView = { daemons: [], problems: [] };
  #nextLookAtMs = 0;
  #lookedAtMs = 0;
  #absentLooks = 0;
  #reckoning = false;
  readonly #ended = new AbortController();
  #first: { readonly atMs: number } | undefined;
  #last:
    | { readonly atMs: number; readonly monotonicMs: number; readonly durationMs: number }
    | undefined;

  constructor(options: ReconcilerOptions, stages: Stages) {
    this.#options = options;
    this.#stages = stages;
    this.#triggers = new Triggers(options.clock);
    this.#renewals = new Renewals({
      ...options,
      resolver: () => this.#stages.resolver,
      settled: (image) => {
        this.#deliveries.image(image);
        this.#reckonSoon();
      },
    });
    this.#deliveries = new Deliveries({
      ...options,
      deliverer: () => this.#stages.deliverer,
      isAsking: (image) => this.#renewals.isAsking(image),
      settled: () => this.#reckonSoon(),
    });
    this.#reads = new ReadGuard({
      ...options,
      deliveries: this.#deliveries,
      renewals: this.#renewals,
      daemons: () => this.#view.daemons,
      counter: () => this.#stages.renewalEnabled ? this.#stages.readCounter : undefined,
      lookSoon: () => this.#triggers.fire("reads-failing"),
    });
  }

  /**
   * Runs until aborted, then lets deliveries under way end. `ready` is called once, when the first
   * reconcile is done: every live image was asked for and every mount compared.
   */
  async run({ signal, ready }: { signal: AbortSignal; ready?: () => void }): Promise<void> {
    try {
      await this.#look("start", signal);
      await this.#firstRenewals(signal);
      this.#first = { atMs: this.#options.clock.wallMs() };
      ready?.();
      await Promise.all([this.#turn(signal), this.#reads.run({ signal })]);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#ended.abort();
      await Promise.all([this.#renewals.stop(), this.#deliveries.stop()]);
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const fired = await this.#triggers.wait(this.#waitMs(), { signal });
      if (fired !== undefined) await this.#keepDistance(signal);
      const overdue = this.#options.clock.monotonicMs() >= this.#nextLookAtMs;
      if (fired !== undefined || overdue) await this.#look(fired ?? "interval", signal);
      this.#renewDue();
    }
  }

  /** Looks soon: a socket appeared, a person asked, a daemon vanished. */
  trigger(reason: TriggerReason): void {
    this.#triggers.fire(reason);
  }

  /** A source changed: ask it for every image, without waiting for anything to be due. */
  recheck(): void {
    if (!this.#stages.renewalEnabled) return;
    this.#renewals.start([...this.#options.store.entries()], { recheck: true });
  }

  /** A configuration file of a daemon was touched by someone. */
  fileTouched(path: string): void {
    this.#deliveries.doubtFile(path);
    this.#triggers.fire("node-changed");
  }

  /** Goes on with other stages, after a reload. What is known stays. */
  replace(stages: Stages): void {
    this.#stages = stages;
    this.#nextLookAtMs = 0;
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
      daemons: this.#view.daemons.map((daemon) => daemonStatus(daemon, this.#deliveries)),
      problems: this.#view.problems,
    };
  }

  async #look(trigger: TriggerReason, signal: AbortSignal): Promise<void> {
    const { clock, observer } = this.#options;
    const startedMs = clock.monotonicMs();
    try {
      this.#view = await this.#stages.discoverer.look({ signal });
    } catch (error) {
      if (signal.aborted) throw error;
      observer.notify({ kind: "warning", code: "look-failed", text: messageOf(error) });
    }
    this.#changes.tell(this.#view, observer);
    this.#deliveries.observe(this.#view.daemons);
    const images = this.#adoptView();
    if (this.#stages.renewalEnabled) {
      this.#renewDue();
      this.#deliveries.all();
    }
    const durationMs = clock.monotonicMs() - startedMs;
    this.#last = { atMs: clock.wallMs(), monotonicMs: clock.monotonicMs(), durationMs };
    this.#lookedAtMs = startedMs;
    this.#nextLookAtMs = startedMs + this.#pauseMs();
    observer.notify({
      kind: "reconcile-finished",
      trigger,
      durationMs,
      daemons: this.#view.daemons.length,
      instances: this.#view.daemons.reduce((sum, { instances }) => sum + instances.length, 0),
      images,
    });
  }

  /** Gives every live image its entry, and drops the others. Returns how many live. */
  #adoptView(): number {
    const { store, clock, observer } = this.#options;
    const nowMs = clock.wallMs();
    const live = new Map<string, ImageReference>();
    for (const { instances } of this.#view.daemons) {
      for (const { image } of instances) if (image) live.set(image.text, image);
    }
    let isFull = false;
    for (const image of live.values()) {
      if (!store.ensure(image, nowMs)) {
        isFull = true;
        const text = `the store is full: ${image.text} is not kept fresh`;
        observer.notify({ kind: "warning", code: "store-full", text });
      }
    }
    if (store.size === live.size && !isFull) return live.size;
    const minAgeMs = store.settings.refreshIntervalMs / 2;
    for (const image of store.evict(live, nowMs, minAgeMs)) {
      observer.notify({ kind: "credential-evicted", image: image.text });
    }
    return live.size;
  }

  #renewDue(): void {
    if (!this.#stages.renewalEnabled) return;
    const { store, clock } = this.#options;
    this.#renewals.start(store.due(clock.wallMs()));
  }

  async #firstRenewals(signal: AbortSignal): Promise<void> {
    const late = new AbortController();
    const both = AbortSignal.any([signal, late.signal]);
    const sleep = this.#options.clock.sleep(FIRST_RENEWALS_MS, { signal: both });
    try {
      await Promise.race([sleep, this.#renewals.idle()]);
      await Promise.race([sleep, this.#deliveries.idle()]);
    } finally {
      late.abort();
      await sleep.catch(() => {});
    }
    signal.throwIfAborted();
  }

  /** A storm of events causes a few looks a second, not one each. */
  async #keepDistance(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const restMs = this.#lookedAtMs + LOOK_GAP_MS - clock.monotonicMs();
    if (restMs > 0) await clock.sleep(restMs, { signal });
  }

  /**
   * Has the loop reckon again how long to sleep. Ten thousand answers in a row cause that a few
   * times: it looks at every entry.
   */
  #reckonSoon(): void {
    if (this.#reckoning) return;
    this.#reckoning = true;
    this.#options.clock.sleep(RECKON_GAP_MS, { signal: this.#ended.signal }).then(() => {
      this.#reckoning = false;
      this.#triggers.nudge();
    }, () => {}); // ended
  }

  /** Until the next look by the clock; sooner while a daemon does not run. */
  #pauseMs(): number {
    const { checkIntervalMs } = this.#stages;
    const absent = this.#view.daemons.some(({ state }) => state !== "running") ||
      this.#view.problems.length > 0;
    this.#absentLooks = absent ? this.#absentLooks + 1 : 0;
    if (!absent) return checkIntervalMs;
    const soonMs = ABSENT_FIRST_MS * 2 ** Math.min(this.#absentLooks - 1, 10);
    return Math.min(soonMs, ABSENT_MAX_MS, checkIntervalMs);
  }

  /** How long the loop may sleep: until a look, a renewal or a retry is due. */
  #waitMs(): number {
    const { clock, store } = this.#options;
    const monotonicMs = clock.monotonicMs();
    const retryAtMs = this.#deliveries.book.nextRetryAtMs();
    if (retryAtMs !== undefined) {
      const soonest = Math.max(retryAtMs, this.#lookedAtMs + RETRY_GAP_MS);
      this.#nextLookAtMs = Math.min(this.#nextLookAtMs, soonest);
    }
    const lookMs = this.#nextLookAtMs - monotonicMs;
    const dueAtMs = this.#stages.renewalEnabled ? this.#renewals.nextDueAtMs() : undefined;
    const renewMs = dueAtMs === undefined ? Infinity : dueAtMs - clock.wallMs();
    return Math.max(0, Math.min(lookMs, renewMs, store.settings.refreshIntervalMs));
  }
}
