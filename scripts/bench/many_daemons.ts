import { join } from "@std/path";
import { serveSimNydusd, SimDaemon, type SimNode, SimNydusd } from "../../lib/simulator/mod.ts";

/** When a mount received a new credential, and when its nydusd started to use it. */
export interface Arrival {
  readonly storedAtMs: number;
  readonly inUseAtMs?: number;
}

const POLL_MS = 5_000;

/**
 * Simulated nydusd instances in this process, one socket each. Each polls for a new value every five
 * seconds with its own phase, like nydusd 2.4.2 and later.
 */
export class ManyDaemons implements Disposable {
  readonly #arrivals = new Map<string, Arrival>();
  readonly #currentAuth = new Map<string, string>();
  readonly #disposables: Disposable[] = [];
  readonly #timers: ReturnType<typeof setInterval>[] = [];

  /** Adds the daemons to a node, each with one mount whose credential is stale. */
  constructor(node: SimNode, count: number, image: (i: number) => string, name = "many-") {
    for (let i = 0; i < count; i++) this.#add(node, `${name}${i}`, image(i), i / count);
  }

  /** Clears the recorded arrivals. */
  clearArrivals(): void {
    this.#arrivals.clear();
  }

  get arrivals(): readonly Arrival[] {
    return [...this.#arrivals.values()];
  }

  /** Number of daemons that use the stored credential. */
  get inUse(): number {
    return this.arrivals.filter(({ inUseAtMs }) => inUseAtMs !== undefined).length;
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const disposable of this.#disposables) disposable[Symbol.dispose]();
  }

  #add(node: SimNode, id: string, image: string, jitter: number): void {
    const daemon = new SimDaemon({
      id,
      mode: "dedicated",
      version: "2.4.4",
      pollMs: POLL_MS,
      root: node.root,
      runDir: join(node.dir, "run"),
      selfCommand: [],
    });
    const instance = daemon.addInstance(`s-${id}`, image, btoa("robot:stale"));
    const nydusd = new SimNydusd({
      id,
      version: "2.4.4",
      pollMs: POLL_MS,
      apiSocket: daemon.apiSocket,
      controlSocket: "",
      mounts: [],
    });
    nydusd.mount({ ...instance, blob: "" }, Deno.readTextFileSync(instance.configPath));
    Deno.mkdirSync(join(node.root, "socket", id), { recursive: true });
    const handle: SimNydusd["handle"] = (request) => {
      if (request.method === "PUT") this.#onPut(id, request.body);
      return nydusd.handle(request);
    };
    this.#disposables.push(serveSimNydusd(daemon.apiSocket, { handle }));
    node.daemons.set(id, daemon);
    const poll = () => this.#poll(id);
    const first = setTimeout(() => {
      poll();
      this.#timers.push(setInterval(poll, POLL_MS));
    }, jitter * POLL_MS);
    this.#timers.push(first);
  }

  #onPut(id: string, body: string): void {
    const atMs = Date.now();
    if (this.#currentAuth.get(id) === body || this.#arrivals.has(id)) return;
    this.#currentAuth.set(id, body);
    this.#arrivals.set(id, { storedAtMs: atMs });
  }

  #poll(id: string): void {
    const arrival = this.#arrivals.get(id);
    if (arrival === undefined || arrival.inUseAtMs !== undefined) return;
    this.#arrivals.set(id, { ...arrival, inUseAtMs: Date.now() });
  }
}
