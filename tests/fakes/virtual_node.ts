import {
  type CallOptions,
  type Credential,
  type CredentialProvider,
  type Daemon,
  type DeliveryOutcome,
  type DeliveryRequest,
  encodeRegistryAuth,
  type ImageReference,
  type NodeView,
  parseImageReference,
  type ProbeVerdict,
  Secret,
} from "../../lib/model/mod.ts";
import { inUseDelayMs } from "../../lib/delivery/mod.ts";
import { Reconciler } from "../../lib/reconciler/mod.ts";
import { AnswerDeadline } from "../../lib/model/mod.ts";
import { CredentialChain } from "../../lib/providers/mod.ts";
import { CandidateSelector, type Verify } from "../../lib/verification/mod.ts";
import { CredentialStore } from "../../lib/credentials/mod.ts";
import { FakeClock, settle } from "./clock.ts";
import { FakeObserver } from "./observer.ts";
import { FakeRandom } from "./random.ts";

/** A mount of a virtual node, and what its nydusd holds, uses and counts. */
export interface VirtualMount {
  readonly id: string;
  readonly image: string;
  readonly version: string;
  /** base64 of `user:password`, as it is stored. */
  currentAuth: Secret;
  /** `user:password` that reads are made with. */
  inUse: string;
  reads: number;
  errors: number;
}

/** How a virtual node is made. */
export interface VirtualNodeOptions {
  readonly clock?: FakeClock;
  /** In the chain's order. */
  readonly providers: readonly CredentialProvider[];
  readonly verify?: Verify;
  /** Between two reads of every mount. Default: nobody reads. */
  readonly readEveryMs?: number;
  /** When a nydusd from 2.4.2 on first looks for a new value; it looks every 5 s. */
  readonly pollPhaseMs?: number;
  readonly refreshIntervalMs?: number;
  /** How long each provider is waited for. Default: until it answers. */
  readonly providerTimeoutMs?: number;
}

const POLL_MS = 5_000;

/**
 * A node in virtual time: the agent's own reconciler, store, chain and elector, before nydusd that
 * take a new value when those of their version do, and a registry that a test speaks for.
 */
export class VirtualNode {
  readonly clock: FakeClock;
  readonly observer = new FakeObserver();
  readonly store: CredentialStore;
  readonly mounts: VirtualMount[] = [];
  readonly reconciler: Reconciler;
  /** What the registry takes. */
  accepts: (pair: string, repository: string) => boolean = () => true;
  /** What it was asked about by probes. */
  readonly probes: string[] = [];
  /** Every delivery, as `user:password`. */
  readonly deliveries: string[] = [];
  /** Virtual time (monotonic) of the first and of the last read that failed. */
  firstFailureMs: number | undefined;
  lastFailureMs: number | undefined;
  readonly #options: VirtualNodeOptions;
  #daemons: readonly Daemon[] | undefined;

  constructor(options: VirtualNodeOptions) {
    this.#options = options;
    this.clock = options.clock ?? new FakeClock();
    const { clock, observer } = this;
    this.store = new CredentialStore({
      settings: { leadTimeMs: "auto", refreshIntervalMs: options.refreshIntervalMs ?? 240_000 },
      seed: "node",
      random: new FakeRandom(),
    });
    const selector = new CandidateSelector({
      clock,
      observer,
      verify: () => options.verify ?? "as-needed",
      probe: { probe: (target, credential) => this.#probe(target.repository, credential) },
    });
    const { providers, providerTimeoutMs: timeoutMs } = options;
    const late = (image: ImageReference) => this.reconciler.recheck(image);
    const deadline = timeoutMs === undefined
      ? undefined
      : new AnswerDeadline({ clock, timeoutMs, onLateAnswer: late });
    const chain = new CredentialChain({
      providers,
      clock,
      observer,
      ...(deadline && { deadline }),
    });
    this.reconciler = new Reconciler(
      { store: this.store, observer, clock, inUseDelayMs, selector },
      {
        discoverer: { discover: () => Promise.resolve(this.#view()) },
        resolver: chain,
        deliverer: { deliver: (order) => Promise.resolve(this.#deliver(order)) },
        ...(options.readEveryMs !== undefined && {
          readCounter: { backendReads: (socket) => Promise.resolve(this.#counts(socket)) },
        }),
        checkIntervalMs: 60_000,
        renewalEnabled: true,
      },
    );
  }

  /** Adds a mount with a daemon of its own, which holds a credential (`user:password`) or none. */
  mount(image: string, pair = "", version = "2.4.4"): VirtualMount {
    const id = `d${this.mounts.length}`;
    const currentAuth = new Secret(pair === "" ? "" : btoa(pair));
    const mount = { id, image, version, currentAuth, inUse: pair, reads: 0, errors: 0 };
    this.mounts.push(mount);
    this.#daemons = undefined;
    return mount;
  }

  /** Runs agent, daemons and readers while a test moves the clock. */
  async run(work: () => Promise<void>): Promise<void> {
    const stop = new AbortController();
    const { signal } = stop;
    const ended = () => {};
    const running = [
      this.reconciler.run({ signal }),
      this.#poll(signal).catch(ended),
      this.#read(signal).catch(ended),
    ];
    try {
      for (let i = 0; i < 4; i++) await settle();
      await work();
    } finally {
      stop.abort();
      await Promise.all(running);
    }
  }

  /** Moves on until something holds; how long that took (ms), at most `mostMs`. */
  async until(holds: () => boolean, mostMs: number, stepMs = 250): Promise<number> {
    const startMs = this.clock.monotonicMs();
    while (!holds()) {
      const passedMs = this.clock.monotonicMs() - startMs;
      if (passedMs >= mostMs) throw new Error(`in vain for ${passedMs} ms of virtual time`);
      await this.clock.advance(stepMs);
    }
    return this.clock.monotonicMs() - startMs;
  }

  /** Forgets the reads that failed so far. */
  forgetFailures(): void {
    this.firstFailureMs = this.lastFailureMs = undefined;
  }

  /** What a mount holds, as `user:password`. */
  currentAuthOf({ currentAuth }: VirtualMount): string {
    return atob(currentAuth.reveal());
  }

  /** The delivery states of all mounts, in the order in which they were added. */
  states(): readonly string[] {
    return this.reconciler.status().daemons.flatMap(({ instances }) =>
      instances.map(({ delivery }) => delivery)
    );
  }

  async #poll(signal: AbortSignal): Promise<void> {
    await this.clock.sleep(this.#options.pollPhaseMs ?? POLL_MS, { signal });
    while (true) {
      for (const mount of this.mounts) if (mount.version !== "2.4.1") this.#use(mount);
      await this.clock.sleep(POLL_MS, { signal });
    }
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { readEveryMs } = this.#options;
    while (readEveryMs !== undefined) {
      await this.clock.sleep(readEveryMs, { signal });
      for (const mount of this.mounts) {
        if (mount.version === "2.4.1") this.#use(mount);
        mount.reads++;
        if (this.accepts(mount.inUse, parseImageReference(mount.image).repository)) continue;
        mount.errors++;
        this.lastFailureMs = this.clock.monotonicMs();
        this.firstFailureMs ??= this.lastFailureMs;
      }
    }
  }

  /** An empty value clears; a mount that was never told one keeps what its file said. */
  #use(mount: VirtualMount): void {
    mount.inUse = this.currentAuthOf(mount);
  }

  #view(): NodeView {
    this.#daemons ??= this.mounts.map((mount) => daemonOf(mount));
    const daemons = this.#daemons.map((daemon, i) => {
      const currentAuth = this.mounts[i]?.currentAuth ?? new Secret("");
      // As the real nydusd: no key for a mount that started without a credential.
      return { ...daemon, currentAuth: new Map(currentAuth.isEmpty ? [] : [["/", currentAuth]]) };
    });
    return { daemons, problems: [] };
  }

  #counts(socket: string) {
    const mount = this.mounts.find(({ id }) => id === socket);
    const { reads = 0, errors = 0 } = mount ?? {};
    return { kind: "ok" as const, value: { reads, errors } };
  }

  #deliver({ daemon, credential }: DeliveryRequest): DeliveryOutcome {
    const mount = this.mounts.find(({ id }) => id === daemon.id);
    if (mount === undefined || credential.kind !== "basic") throw new Error("nothing to deliver");
    mount.currentAuth = encodeRegistryAuth(credential);
    this.deliveries.push(this.currentAuthOf(mount));
    return { kind: "delivered", file: { kind: "skipped" } };
  }

  #probe(
    repository: string,
    credential: Credential | undefined,
    _options: CallOptions = {},
  ): Promise<ProbeVerdict> {
    const pair = credential?.kind === "basic"
      ? `${credential.username}:${credential.password.reveal()}`
      : "";
    this.probes.push(pair);
    const kind = this.accepts(pair, repository) ? "accepted" : "refused";
    return Promise.resolve({ kind, detail: "a test says so" });
  }
}

function daemonOf({ id, image, version }: VirtualMount): Daemon {
  return {
    id,
    pid: 1,
    apiSocket: id,
    source: "system-api",
    state: "running",
    version,
    configApi: "supported",
    instances: [{ daemonId: id, snapshotId: "1", mountId: "/", image: parseImageReference(image) }],
  };
}
