import {
  type Candidate,
  credentialFromPair,
  type CredentialRequest,
  parseImageReference,
  type ProviderOutcome,
  type Resolution,
} from "../../lib/model/mod.ts";
import { MountRecords, Renewals, Selections } from "../../lib/reconciler/mod.ts";
import { Backoff } from "../../lib/model/mod.ts";
import { CredentialStore } from "../../lib/credentials/mod.ts";
import type { TokenShape } from "./shapes.ts";
import type { TokenService } from "./token_service.ts";
import { SeededRandom, type VirtualClock } from "./virtual_time.ts";

const IMAGE = parseImageReference("registry.example.com/team/app:v1");
const REFRESH_INTERVAL_MS = 240_000;
/** A metadata server gives another token this long before the old one ends. */
const SWAP_MS = 5 * 60_000;

/** What a node of the fleet is given. */
export interface FleetNodeOptions {
  readonly index: number;
  readonly clock: VirtualClock;
  readonly service: TokenService;
  readonly shape: TokenShape;
  readonly place: "shared" | "local";
  readonly refreshIntervalMs?: number | undefined;
  /** How long the token that its mounts still hold will live. */
  readonly heldForMs: number;
}

/** A mount that lost its credential, and whether it had to. */
export interface Expiry {
  readonly atMs: number;
  readonly wasAvoidable: boolean;
}

/**
 * One node: the agent's own store, schedule, retries and backoff, on a source of tokens. The mounts
 * hold what was renewed last; how long that lives the agent is told only as far as the shape says.
 */
export class FleetNode {
  readonly expiries: Expiry[] = [];
  /** When the first renewal succeeded. */
  servedAtMs: number | undefined;
  /** Executions: every one of them reaches the source. */
  readonly queriedAtMs: number[] = [];
  readonly #options: FleetNodeOptions;
  readonly #store: CredentialStore;
  readonly #renewals: Renewals;
  readonly #backoff: Backoff;
  #mountEndMs: number;
  #isExpired = false;
  #issued = 0;
  #local: { readonly candidate: Candidate; readonly endMs: number } | undefined;

  constructor(options: FleetNodeOptions) {
    const { clock, index, heldForMs, refreshIntervalMs = REFRESH_INTERVAL_MS } = options;
    const settings = { leadTimeMs: "auto", refreshIntervalMs } as const;
    const random = new SeededRandom(index + 1);
    this.#options = options;
    this.#mountEndMs = heldForMs;
    this.#store = new CredentialStore({ settings, seed: `machine-${index}`, random });
    this.#backoff = new Backoff({ clock, random });
    const observer = { notify() {} };
    const none = { selector: undefined, mounts: { of: () => [] }, records: new MountRecords() };
    this.#renewals = new Renewals({
      store: this.#store,
      selections: new Selections({ ...none, observer, clock }),
      resolver: () => ({ resolve: (request) => Promise.resolve(this.#resolve(request)) }),
      observer,
      clock,
      onCompleted: () => {},
    });
  }

  /** Asks if anything is due; returns when the next question is (ms since the start). */
  async turn(): Promise<number> {
    const { clock } = this.#options;
    this.#store.ensure(IMAGE, clock.wallMs());
    this.#renewals.start(this.#store.due(clock.wallMs()));
    await this.#renewals.idle();
    const next = this.#store.nextDueAtMs();
    return next === undefined ? Infinity : Math.max(clock.sinceStart(next), clock.nowMs + 1);
  }

  /** Notes it when the mounts' credential has ended by now. */
  noteExpiry(nowMs: number): void {
    if (this.#isExpired || nowMs < this.#mountEndMs) return;
    this.#isExpired = true;
    const { service, shape, place } = this.#options;
    const lastChanceMs = Math.min(Math.max(SWAP_MS, shape.lifetimeMs / 10), shape.lifetimeMs / 3);
    const fromMs = this.#mountEndMs - (place === "local" ? SWAP_MS : lastChanceMs);
    // Of a token that hides its end nobody knows when to ask but every few minutes.
    const neededMs = shape.toldLifeMs === undefined
      ? this.#store.settings.refreshIntervalMs
      : 1_000;
    const wasAvoidable = service.wasOpenFor(neededMs, fromMs, this.#mountEndMs);
    this.expiries.push({ atMs: this.#mountEndMs, wasAvoidable });
  }

  #resolve(request: CredentialRequest): Resolution {
    const outcome = this.#ask(request);
    const attempts = [{ provider: "kubelet" as const, outcome, durationMs: 0 }];
    if (outcome.kind !== "found") return { image: IMAGE, attempts };
    const { candidates } = outcome;
    return { image: IMAGE, attempts, winner: { provider: "kubelet", renewable: true, candidates } };
  }

  /** As a plugin does: its backoff first, then one execution. */
  #ask({ urgent = false, waiting }: CredentialRequest): ProviderOutcome {
    const { clock } = this.#options;
    const restMs = this.#backoff.remainingMs({ urgent, waiting: waiting === true });
    if (restMs > 0) return failed("plugin-backing-off", clock.wallMs() + restMs);
    this.noteExpiry(clock.nowMs);
    this.queriedAtMs.push(clock.nowMs);
    const answer = this.#options.place === "local" ? this.#askLocal() : this.#askService();
    if (!("candidate" in answer)) {
      this.#backoff.failed(clock.monotonicMs());
      const pauseMs = Math.max(
        this.#backoff.remainingMs({ waiting: waiting === true }),
        answer.retryAfterMs,
      );
      return failed("plugin-failed", clock.wallMs() + pauseMs);
    }
    this.#backoff.succeeded();
    this.servedAtMs ??= clock.nowMs;
    this.#mountEndMs = answer.endMs;
    this.#isExpired = false;
    return { kind: "found", reason: "found", candidates: [answer.candidate], notes: [] };
  }

  #askService() {
    const answer = this.#options.service.call(this.#options.clock.nowMs);
    if (answer.kind === "granted") return this.#issue();
    return { retryAfterMs: answer.kind === "throttled" ? answer.retryAfterMs ?? 0 : 0 };
  }

  /** The metadata server: it has a token until it fails to get another in time. */
  #askLocal() {
    const { clock, service } = this.#options;
    const isDown = service.isDown(clock.nowMs);
    const known = this.#local;
    const mustSwap = known === undefined || clock.nowMs >= known.endMs - SWAP_MS;
    if (mustSwap && !isDown) return this.#local = this.#issue();
    if (known === undefined || clock.nowMs >= known.endMs) return { retryAfterMs: 0 };
    return { ...known, candidate: { ...known.candidate, fetchedAtMs: clock.wallMs() } };
  }

  #issue(): { readonly candidate: Candidate; readonly endMs: number } {
    const { clock, index, shape: { lifetimeMs, toldLifeMs, hintMs } } = this.#options;
    const credential = credentialFromPair("token", `${index}-${++this.#issued}`);
    if (credential === undefined) throw new Error("issue a token: it is empty");
    const nowMs = clock.wallMs();
    const isReported = toldLifeMs !== undefined && toldLifeMs > 0; // a past end is ignored
    const candidate: Candidate = {
      credential,
      origin: "plugin sim",
      plugin: "sim",
      fetchedAtMs: nowMs,
      watched: false,
      ...(hintMs !== undefined && { refreshAtMs: nowMs + hintMs }),
      ...(isReported && { expiresAtMs: nowMs + toldLifeMs }),
    };
    return { candidate, endMs: clock.nowMs + lifetimeMs };
  }
}

function failed(
  reason: "plugin-failed" | "plugin-backing-off",
  retryAtMs: number,
): ProviderOutcome {
  return { kind: "failed", reason, detail: "no token", notes: [], retryAtMs };
}
