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
import { FakeClock, flushTasks } from "./clock.ts";
import { FakeObserver } from "./observer.ts";
import { FakeRandom } from "./random.ts";

/** A mount of a virtual node, with the credentials and counters of its nydusd. */
export interface VirtualMount {
  readonly id: string;
  readonly image: string;
  readonly version: string;
  /** The stored value: base64 of `user:password`. */
  currentAuth: Secret;
  /** The `user:password` that reads use. */
  inUse: string;
  reads: number;
  errors: number;
}

/** Options of a virtual node. */
export interface VirtualNodeOptions {
  readonly clock?: FakeClock;
  /** In the order of the chain. */
  readonly providers: readonly CredentialProvider[];
  readonly verify?: Verify;
  /** Interval of the reads of every mount. Default: no reads. */
  readonly readEveryMs?: number;
  /** When nydusd 2.4.2 and later first polls for a new value; afterwards every 5 s. */
  readonly pollPhaseMs?: number;
  readonly refreshIntervalMs?: number;
  /** Deadline of each provider. Default: none. */
  readonly providerTimeoutMs?: number;
}

const POLL_MS = 5_000;

/**
 * A node in virtual time: the agent's real reconciler, store, chain and candidate selector, with
 * simulated nydusd that activate a new value like the real versions, and a registry that a test
 * defines.
 */
export class VirtualNode {
  readonly clock: FakeClock;
  readonly observer = new FakeObserver();
  readonly store: CredentialStore;
  readonly mounts: VirtualMount[] = [];
  readonly reconciler: Reconciler;
  /** Whether the registry accepts a credential. */
  accepts: (pair: string, repository: string) => boolean = () => true;
  /** The credentials of all probes. */
  readonly probes: string[] = [];
  /** The `user:password` of every delivery. */
  readonly deliveries: string[] = [];
  /** Monotonic time of the first and the last failed read. */
  firstFailureMs: number | undefined;
  lastFailureMs: number | undefined;
  readonly #options: VirtualNodeOptions;

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
        deliverer: { deliver: (request) => Promise.resolve(this.#deliver(request)) },
        ...(options.readEveryMs !== undefined && {
          readCounter: { backendReads: (socket) => Promise.resolve(this.#counts(socket)) },
        }),
        checkIntervalMs: 60_000,
        renewalEnabled: true,
      },
    );
  }

  /** Adds a mount with its own daemon, which has a credential (`user:password`) or none. */
  mount(image: string, pair = "", version = "2.4.4"): VirtualMount {
    const id = `d${this.mounts.length}`;
    const currentAuth = new Secret(pair === "" ? "" : btoa(pair));
    const mount = { id, image, version, currentAuth, inUse: pair, reads: 0, errors: 0 };
    this.mounts.push(mount);
    return mount;
  }

  /** Runs agent, daemons and readers while a test advances the clock. */
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
      for (let i = 0; i < 4; i++) await flushTasks();
      await work();
    } finally {
      stop.abort();
      await Promise.all(running);
    }
  }

  /** Advances the clock until a condition holds; returns the elapsed time (ms). */
  async until(holds: () => boolean, mostMs: number, stepMs = 250): Promise<number> {
    const startMs = this.clock.monotonicMs();
    while (!holds()) {
      const passedMs = this.clock.monotonicMs() - startMs;
      if (passedMs >= mostMs) {
        throw new Error(`condition not met after ${passedMs} ms of virtual time`);
      }
      await this.clock.advance(stepMs);
    }
    return this.clock.monotonicMs() - startMs;
  }

  /** Resets the times of failed reads. */
  forgetFailures(): void {
    this.firstFailureMs = this.lastFailureMs = undefined;
  }

  /** Returns the `user:password` that is configured for a mount. */
  currentAuthOf({ currentAuth }: VirtualMount): string {
    return atob(currentAuth.reveal());
  }

  /** Returns the delivery states of all mounts in the order of their creation. */
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

  /** Activates the stored value. */
  #use(mount: VirtualMount): void {
    mount.inUse = this.currentAuthOf(mount);
  }

  #view(): NodeView {
    const daemons = this.mounts.map((mount) => {
      const { currentAuth } = mount;
      // Like the real nydusd, omits a mount that started without a credential.
      const auths = new Map(currentAuth.isEmpty ? [] : [["/", currentAuth]] as const);
      return { ...daemonOf(mount), currentAuth: auths };
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
    return Promise.resolve({ kind, detail: "defined by the test" });
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
    instances: [{ snapshotId: "1", mountId: "/", image: parseImageReference(image) }],
  };
}
