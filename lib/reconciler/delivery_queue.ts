import { Semaphore } from "../model/mod.ts";

/** What to compare in a daemon: mounts by the keys of the store, or every mount. */
export type Wanted = ReadonlySet<string> | "all";

/** Daemons delivered to side by side. */
const MAX_PARALLEL = 16;

/** What a delivery queue needs. */
export interface DeliveryQueueOptions {
  /** Compares and delivers to the mounts of one daemon. */
  readonly work: (daemonId: string, wanted: Wanted) => Promise<void>;
  /** Called with what `work` threw, which is a defect of ours. */
  readonly failed: (daemonId: string, error: unknown) => void;
  /** Called when the work of a daemon has ended. */
  readonly inSync: () => void;
}

/**
 * Daemons that have something to compare or to deliver.
 *
 * Invariants: at most one `work` per daemon is in flight, so that the PUTs of one daemon never
 * overlap (this is the only place that serializes them); a daemon that is marked meanwhile is
 * worked on again; what `work` throws ends neither the queue nor the agent.
 */
export class DeliveryQueue {
  readonly #options: DeliveryQueueOptions;
  readonly #gate = new Semaphore(MAX_PARALLEL);
  readonly #dirty = new Map<string, Set<string> | "all">();
  readonly #running = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();

  constructor(options: DeliveryQueueOptions) {
    this.#options = options;
  }

  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Has a daemon's mounts compared: those of one key of the store, or all of them. */
  mark(daemonId: string, key?: string): void {
    const marked = this.#dirty.get(daemonId);
    if (key === undefined) this.#dirty.set(daemonId, "all");
    else if (marked === undefined) this.#dirty.set(daemonId, new Set([key]));
    else if (marked !== "all") marked.add(key);
    this.#start(daemonId);
  }

  /** Resolves when nothing is being delivered. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  /** Lets what is under way end, and starts nothing more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.idle();
  }

  #start(daemonId: string): void {
    if (this.#running.has(daemonId) || this.stopped) return;
    const work = this.#gate.run(() => this.#turn(daemonId))
      .catch((error: unknown) => this.#options.failed(daemonId, error))
      .then(() => {
        this.#running.delete(daemonId);
        if (this.#dirty.has(daemonId)) this.#start(daemonId);
        else this.#options.inSync();
      });
    this.#running.set(daemonId, work);
  }

  async #turn(daemonId: string): Promise<void> {
    while (!this.stopped) {
      const wanted = this.#dirty.get(daemonId);
      this.#dirty.delete(daemonId);
      if (wanted === undefined) return;
      await this.#options.work(daemonId, wanted);
    }
  }
}
