import {
  type AgentStatus,
  type CallOptions,
  type Clock,
  Deadline,
  type ImageReference,
  messageOf,
  type NodeView,
  type Observer,
} from "../model/mod.ts";
import type { CredentialStore } from "../store/mod.ts";
import { Adoption } from "./adoption.ts";
import { daemonStatus } from "./daemon_status.ts";
import { type Deliverer, Deliveries } from "./deliveries.ts";
import { InstanceBook } from "./instance_book.ts";
import { Elections, type ElectorPort } from "./elections.ts";
import { LookPace } from "./look_pace.ts";
import { Mounts } from "./mounts.ts";
import { OnRequest } from "./on_request.ts";
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
  /** Whether an image's credential may be shown to hosts that nobody named; default `warn`. */
  readonly unknownHosts?: "warn" | "refuse";
}

/** What the reconciler needs for its whole life. */
export interface ReconcilerOptions {
  readonly store: CredentialStore;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly inUseDelayMs: (version: string) => number | undefined;
  /** Chooses between credentials; without it the first that is found is taken. */
  readonly elector?: ElectorPort;
}

/** Looks caused by events keep at least this distance. */
const LOOK_GAP_MS = 200;
/** Looks for the sake of failed deliveries keep at least this one. */
const RETRY_GAP_MS = 500;
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
  readonly #pace = new LookPace();
  readonly #adoption: Adoption;
  readonly #renewals: Renewals;
  readonly #deliveries: Deliveries;
  readonly #reads: ReadGuard;
  /** Answers programs and people on this node. */
  readonly onRequest: OnRequest;
  #stages: Stages;
  #view: NodeView = { daemons: [], problems: [] };
  readonly #book = new InstanceBook();
  readonly #mounts = new Mounts();
  #nextLookAtMs = 0;
  #lookedAtMs = 0;
  #first: { readonly atMs: number } | undefined;
  #last:
    | { readonly atMs: number; readonly monotonicMs: number; readonly durationMs: number }
    | undefined;

  constructor(options: ReconcilerOptions, stages: Stages) {
    this.#options = options;
    this.#stages = stages;
    this.#triggers = new Triggers(options.clock);
    this.#adoption = new Adoption(options);
    this.#renewals = new Renewals({
      ...options,
      resolver: () => this.#stages.resolver,
      elections: new Elections({
        ...options,
        elector: options.elector,
        mounts: this.#mounts,
        book: this.#book,
      }),
      settled: (key) => {
        this.#deliveries.subject(key);
        this.#triggers.nudgeSoon();
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
      isAsking: (key) => this.#renewals.isAsking(key),
      unknownHosts: () => this.#stages.unknownHosts ?? "warn",
      settled: () => this.#triggers.nudgeSoon(),
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
      this.#triggers.end();
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

  /** A source changed: ask for every image, or one alone, without waiting for any to be due. */
  recheck(only?: ImageReference): void {
    if (!this.#stages.renewalEnabled) return;
    this.#renewals.recheck(only);
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
    const images = this.#adoption.take(this.#mounts);
    if (this.#stages.renewalEnabled) {
      this.#renewDue();
      this.#deliveries.all();
    }
    const durationMs = clock.monotonicMs() - startedMs;
    this.#last = { atMs: clock.wallMs(), monotonicMs: clock.monotonicMs(), durationMs };
    this.#lookedAtMs = startedMs;
    this.#nextLookAtMs = startedMs +
      this.#pace.pauseMs(this.#view, this.#stages.checkIntervalMs);
    observer.notify({
      kind: "reconcile-finished",
      trigger,
      durationMs,
      daemons: this.#view.daemons.length,
      instances: this.#view.daemons.reduce((sum, { instances }) => sum + instances.length, 0),
      images,
    });
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

  /** A storm of events causes a few looks a second, not one each. */
  async #keepDistance(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const restMs = this.#lookedAtMs + LOOK_GAP_MS - clock.monotonicMs();
    if (restMs > 0) await clock.sleep(restMs, { signal });
  }

  /** How long the loop may sleep: until a look, a renewal or a retry is due. */
  #waitMs(): number {
    const { clock, store } = this.#options;
    const monotonicMs = clock.monotonicMs();
    const retryAtMs = this.#book.nextRetryAtMs();
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
