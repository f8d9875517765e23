import { Gate } from "../model/mod.ts";

/** What to compare in a daemon: mounts by the keys of the store, or every mount. */
export type Wanted = ReadonlySet<string> | "all";

/** Daemons delivered to side by side. */
const MAX_PARALLEL = 16;

/** Daemons that wait for their turn: each one is worked on once at a time. */
export class DeliveryQueue {
  readonly #work: (daemonId: string, wanted: Wanted) => Promise<void>;
  readonly #settled: () => void;
  readonly #gate = new Gate(MAX_PARALLEL);
  readonly #dirty = new Map<string, Set<string> | "all">();
  readonly #running = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();

  /** @param settled Called when a daemon has had its turn. */
  constructor(work: (daemonId: string, wanted: Wanted) => Promise<void>, settled: () => void) {
    this.#work = work;
    this.#settled = settled;
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
      .finally(() => {
        this.#running.delete(daemonId);
        if (this.#dirty.has(daemonId)) this.#start(daemonId);
        else this.#settled();
      });
    this.#running.set(daemonId, work);
  }

  async #turn(daemonId: string): Promise<void> {
    while (!this.stopped) {
      const wanted = this.#dirty.get(daemonId);
      this.#dirty.delete(daemonId);
      if (wanted === undefined) return;
      await this.#work(daemonId, wanted);
    }
  }
}
