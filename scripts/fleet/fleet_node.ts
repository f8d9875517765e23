import {
  type Candidate,
  credentialFromPair,
  type CredentialRequest,
  parseImageReference,
  type ProviderOutcome,
  type Resolution,
} from "../../lib/model/mod.ts";
import { Mounts, type ReconcileStages, Renewals } from "../../lib/reconciler/mod.ts";
import { Backoff } from "../../lib/model/mod.ts";
import { CredentialStore } from "../../lib/credentials/mod.ts";
import type { TokenShape } from "./shapes.ts";
import type { TokenService } from "./token_service.ts";
import { selectFirst } from "../../tests/fakes/selector.ts";
import { SeededRandom, type VirtualClock } from "./virtual_time.ts";

const IMAGE = parseImageReference("registry.example.com/team/app:v1");
const REFRESH_INTERVAL_MS = 240_000;
/** A metadata server replaces its token this long before the expiry. */
const REPLACE_BEFORE_MS = 5 * 60_000;

/** Options of a node of the fleet. */
export interface FleetNodeOptions {
  readonly index: number;
  readonly clock: VirtualClock;
  readonly service: TokenService;
  readonly shape: TokenShape;
  readonly place: "shared" | "local";
  readonly refreshIntervalMs?: number | undefined;
  /** Remaining lifetime of the credential that the mounts have at boot. */
  readonly initialLifetimeMs: number;
}

/** A credential that expired in a mount, and whether a renewal in time was possible. */
export interface Expiry {
  readonly atMs: number;
  readonly wasAvoidable: boolean;
}

/**
 * A node with the agent's own store, schedule, retries and backoff, and a token source. Its mounts use
 * the last renewed credential. The token shape decides which lifetime is reported to the agent.
 */
export class FleetNode {
  readonly expiries: Expiry[] = [];
  /** When the first renewal succeeded. */
  servedAtMs: number | undefined;
  /** Time of each plugin execution; each one calls the source. */
  readonly executedAtMs: number[] = [];
  readonly #options: FleetNodeOptions;
  readonly #store: CredentialStore;
  readonly #renewals: Renewals;
  readonly #backoff: Backoff;
  #mountExpiresAtMs: number;
  #isExpired = false;
  #issued = 0;
  #local: { readonly candidate: Candidate; readonly expiresAtMs: number } | undefined;

  constructor(options: FleetNodeOptions) {
    const { clock, index, initialLifetimeMs, refreshIntervalMs = REFRESH_INTERVAL_MS } = options;
    const settings = { leadTimeMs: "auto", refreshIntervalMs } as const;
    const random = new SeededRandom(index + 1);
    this.#options = options;
    this.#mountExpiresAtMs = initialLifetimeMs;
    this.#store = new CredentialStore({ settings, seed: `machine-${index}`, random });
    this.#backoff = new Backoff({ clock, random });
    const observer = { notify() {} };
    const resolver: ReconcileStages["resolver"] = {
      resolve: (request) => Promise.resolve(this.#resolve(request)),
    };
    const stages = () => ({ resolver });
    const parts = { store: this.#store, observer, clock, mounts: new Mounts(), stages };
    this.#renewals = new Renewals({ ...parts, selector: selectFirst }, () => {});
  }

  /** Renews due entries; returns the time of the next renewal (ms since the start). */
  async reconcile(): Promise<number> {
    const { clock } = this.#options;
    this.#store.ensure(IMAGE);
    this.#renewals.start(this.#store.due(clock.wallMs()));
    await this.#renewals.idle();
    const next = this.#store.nextDueAtMs(clock.wallMs());
    return Math.max(clock.sinceStart(next), clock.nowMs + 1);
  }

  /** Records an expiry when the mounts' credential has expired. */
  noteExpiry(nowMs: number): void {
    if (this.#isExpired || nowMs < this.#mountExpiresAtMs) return;
    this.#isExpired = true;
    const { service, shape, place } = this.#options;
    const lastChanceMs = Math.min(
      Math.max(REPLACE_BEFORE_MS, shape.lifetimeMs / 10),
      shape.lifetimeMs / 3,
    );
    const fromMs = this.#mountExpiresAtMs - (place === "local" ? REPLACE_BEFORE_MS : lastChanceMs);
    // A token without a reported expiry can only be renewed periodically.
    const neededMs = shape.reportedLifetimeMs === undefined
      ? this.#store.settings.refreshIntervalMs
      : 1_000;
    const wasAvoidable = service.wasAvailableFor(neededMs, fromMs, this.#mountExpiresAtMs);
    this.expiries.push({ atMs: this.#mountExpiresAtMs, wasAvoidable });
  }

  #resolve(request: CredentialRequest): Resolution {
    const outcome = this.#execute(request);
    const attempts = [{ provider: "kubelet" as const, outcome, durationMs: 0 }];
    if (outcome.kind !== "found") return { image: IMAGE, attempts };
    const { candidates } = outcome;
    return { image: IMAGE, attempts, winner: { provider: "kubelet", renewable: true, candidates } };
  }

  /** Acts like the exec plugin provider: applies the backoff, then executes once. */
  #execute({ urgent = false, waiting }: CredentialRequest): ProviderOutcome {
    const { clock } = this.#options;
    const remainingMs = this.#backoff.remainingMs({ urgent, waiting: waiting === true });
    if (remainingMs > 0) return failed("plugin-backing-off", clock.wallMs() + remainingMs);
    this.noteExpiry(clock.nowMs);
    this.executedAtMs.push(clock.nowMs);
    const response = this.#options.place === "local"
      ? this.#callMetadataServer()
      : this.#callTokenService();
    if (!("candidate" in response)) {
      this.#backoff.failed(clock.monotonicMs());
      const pauseMs = Math.max(
        this.#backoff.remainingMs({ waiting: waiting === true }),
        response.retryAfterMs,
      );
      return failed("plugin-failed", clock.wallMs() + pauseMs);
    }
    this.#backoff.succeeded();
    this.servedAtMs ??= clock.nowMs;
    this.#mountExpiresAtMs = response.expiresAtMs;
    this.#isExpired = false;
    return { kind: "found", reason: "found", candidates: [response.candidate], notes: [] };
  }

  #callTokenService() {
    const response = this.#options.service.call(this.#options.clock.nowMs);
    if (response.kind === "granted") return this.#issue();
    return { retryAfterMs: response.kind === "throttled" ? response.retryAfterMs ?? 0 : 0 };
  }

  /** Returns the token of the metadata server, which an outage keeps from being replaced. */
  #callMetadataServer() {
    const { clock, service } = this.#options;
    const isDown = service.isDown(clock.nowMs);
    const known = this.#local;
    const mustReplace = known === undefined || clock.nowMs >= known.expiresAtMs - REPLACE_BEFORE_MS;
    if (mustReplace && !isDown) return this.#local = this.#issue();
    if (known === undefined || clock.nowMs >= known.expiresAtMs) return { retryAfterMs: 0 };
    return { ...known, candidate: { ...known.candidate, fetchedAtMs: clock.wallMs() } };
  }

  #issue(): { readonly candidate: Candidate; readonly expiresAtMs: number } {
    const { clock, index, shape: { lifetimeMs, reportedLifetimeMs, hintMs } } = this.#options;
    const credential = credentialFromPair("token", `${index}-${++this.#issued}`);
    if (credential === undefined) throw new Error("failed to issue a token: it is empty");
    const nowMs = clock.wallMs();
    const isReported = reportedLifetimeMs !== undefined && reportedLifetimeMs > 0; // an expiry in the past is ignored
    const candidate: Candidate = {
      credential,
      origin: "plugin sim",
      plugin: "sim",
      fetchedAtMs: nowMs,
      watched: false,
      ...(hintMs !== undefined && { refreshAtMs: nowMs + hintMs }),
      ...(isReported && { expiresAtMs: nowMs + reportedLifetimeMs }),
    };
    return { candidate, expiresAtMs: clock.nowMs + lifetimeMs };
  }
}

function failed(
  reason: "plugin-failed" | "plugin-backing-off",
  retryAtMs: number,
): ProviderOutcome {
  return { kind: "failed", reason, detail: "no token", notes: [], retryAtMs };
}
