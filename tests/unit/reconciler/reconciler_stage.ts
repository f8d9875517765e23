import { ok } from "node:assert/strict";
import {
  type CallOptions,
  type Candidate,
  type Credential,
  type CredentialRequest,
  type Daemon,
  type DeliveryOutcome,
  type DeliveryRequest,
  encodeRegistryAuth,
  type NodeView,
  parseImageReference,
  type ProviderOutcome,
  Secret,
} from "../../../lib/model/mod.ts";
import {
  Reconciler,
  type ReconcilerContext,
  type ReconcileStages,
} from "../../../lib/reconciler/mod.ts";
import { CredentialStore } from "../../../lib/credentials/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { FakeRandom } from "../../fakes/random.ts";
import { selectFirst } from "../../fakes/selector.ts";

export const IMAGE = parseImageReference("registry.example.com/app:v1");
export const SECOND = 1_000;

export function basic(password: string): Credential {
  return { kind: "basic", username: "u", password: new Secret(password) };
}

/** A node, its providers and its daemons, all in memory. */
export class Stage {
  readonly clock: FakeClock;
  readonly observer = new FakeObserver();
  readonly store = new CredentialStore({
    settings: { leadTimeMs: "auto", refreshIntervalMs: 240 * SECOND },
    seed: "node",
    random: new FakeRandom(),
  });
  readonly stop = new AbortController();
  daemons: Daemon[] = [];
  /** The credentials in nydusd, by daemon ID and mount ID. */
  readonly currentAuth = new Map<string, Map<string, Secret>>();
  readonly requests: CredentialRequest[] = [];
  readonly orders: DeliveryRequest[] = [];
  answer: (request: CredentialRequest) => ProviderOutcome | Promise<ProviderOutcome> = () => none();
  deliver: (order: DeliveryRequest) => DeliveryOutcome | Promise<DeliveryOutcome> = (order) =>
    this.store_(order);
  /** The credential of an earlier pull. */
  remembered: Candidate | undefined;
  /** Awaited between reading the daemons and returning the view. */
  discoveryEnds: (options?: CallOptions) => Promise<void> = () => Promise.resolve();
  discoveries = 0;
  ready = false;
  readonly reconciler: Reconciler;

  constructor(
    clock: FakeClock = new FakeClock(),
    selector: ReconcilerContext["selector"] = selectFirst,
  ) {
    this.clock = clock;
    const { store, observer } = this;
    const options = { store, observer, clock, inUseDelayMs: () => 5 * SECOND, selector };
    this.reconciler = new Reconciler(options, this.#stages());
  }

  /** Replaces the stages, as a reload of the configuration does. */
  reload(change: Partial<ReconcileStages> = {}): void {
    this.reconciler.replace({ ...this.#stages(), ...change });
  }

  #stages(): ReconcileStages {
    return {
      discoverer: {
        discover: async (options) => {
          const view = this.view();
          await this.discoveryEnds(options);
          return view;
        },
      },
      resolver: {
        resolve: async (request) => {
          this.requests.push(request);
          const outcome = await this.answer(request);
          const attempts = [{ provider: "kubelet" as const, outcome, durationMs: 1 }];
          return {
            image: request.image,
            attempts,
            ...(outcome.kind === "found" && {
              winner: { provider: "kubelet", renewable: true, candidates: outcome.candidates },
            }),
          };
        },
      },
      deliverer: {
        deliver: async (order) => {
          this.orders.push(order);
          return await this.deliver(order);
        },
      },
      remembered: () => this.remembered,
      checkIntervalMs: 60 * SECOND,
      renewalEnabled: true,
    };
  }

  daemon(
    id: string,
    instances: readonly { snapshotId: string; image?: string }[],
    currentAuth = "",
  ): Daemon {
    const daemon: Daemon = {
      id,
      pid: 1,
      apiSocket: `/run/${id}.sock`,
      source: "system-api",
      state: "running",
      version: "2.4.4",
      configApi: "supported",
      instances: instances.map(({ snapshotId, image = IMAGE.text }) => ({
        snapshotId,
        mountId: `/${snapshotId}`,
        image: parseImageReference(image),
      })),
    };
    // Like nydusd: no key for a mount that started without a credential.
    const mounts = currentAuth === "" ? [] : instances;
    this.currentAuth.set(
      id,
      new Map(mounts.map((i) => [`/${i.snapshotId}`, new Secret(currentAuth)])),
    );
    this.daemons.push(daemon);
    return daemon;
  }

  view(): NodeView {
    this.discoveries++;
    return {
      daemons: this.daemons.map((d) =>
        d.state === "running" ? { ...d, currentAuth: new Map(this.currentAuth.get(d.id)) } : d
      ),
      problems: [],
    };
  }

  store_({ daemon, instance, credential }: DeliveryRequest): DeliveryOutcome {
    ok(credential.kind === "basic" && instance.mountId !== undefined);
    this.currentAuth.get(daemon.id)?.set(instance.mountId, encodeRegistryAuth(credential));
    return { kind: "delivered", file: { kind: "written" } };
  }

  authOf(id: string, snapshotId: string): string {
    return this.currentAuth.get(id)?.get(`/${snapshotId}`)?.reveal() ?? "";
  }

  async run(work: () => Promise<void>): Promise<void> {
    const running = this.reconciler.run({
      signal: this.stop.signal,
      ready: () => this.ready = true,
    });
    try {
      await flushTasks();
      await flushTasks();
      await work();
    } finally {
      this.stop.abort();
      await running;
    }
  }

  /** The status of a mount. */
  mount(id: string, snapshotId: string) {
    return this.reconciler.status().daemons.find((d) => d.id === id)
      ?.instances.find((i) => i.snapshotId === snapshotId);
  }

  state(id: string, snapshotId: string): string | undefined {
    return this.mount(id, snapshotId)?.delivery;
  }
}

export function none(): ProviderOutcome {
  return { kind: "none", reason: "plugin-not-matched", notes: [] };
}

export function found(
  clock: FakeClock,
  password: string,
  change: Partial<Candidate> = {},
): ProviderOutcome {
  const candidate: Candidate = {
    credential: basic(password),
    origin: "plugin p",
    fetchedAtMs: clock.wallMs(),
    watched: false,
    ...change,
  };
  return { kind: "found", reason: "found", candidates: [candidate], notes: [] };
}
