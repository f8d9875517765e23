import type { Clock, CredentialRequest, Random, ReasonCode } from "../model/mod.ts";
import { Backoff } from "./backoff.ts";

/** An execution that failed. */
export interface PluginFailure {
  /** Monotonic time at which it began. */
  readonly startedAtMs: number;
  readonly reason: ReasonCode;
  readonly detail: string;
}

/** An answer that is none. */
export interface PluginFailed {
  readonly kind: "failed";
  readonly reason: ReasonCode;
  readonly detail: string;
  /** Wall time before which the plugin is not run again. */
  readonly retryAtMs?: number;
}

type Hurry = Pick<CredentialRequest, "urgent" | "waiting" | "forcedAtMs">;

const MAX_SCOPES = 4_096;
/** Looking whether a plugin has been installed is cheap. */
const NOT_STARTED_MAX_MS = 10_000;

/** The pauses of one plugin after failures: of the plugin as a whole, and of each scope. */
export class PluginBackoffs {
  readonly #name: string;
  readonly #environment: { readonly clock: Clock; readonly random: Random };
  /** Failures over all scopes, without a success in between. */
  readonly #whole: Backoff;
  readonly #byScope = new Map<string, Backoff>();
  /** What the last failure was, as the end of a sentence. */
  #last = "";

  constructor(name: string, environment: { readonly clock: Clock; readonly random: Random }) {
    this.#name = name;
    this.#environment = environment;
    this.#whole = new Backoff(environment);
  }

  /** Whether the last execution failed. */
  get isFailing(): boolean {
    return this.#whole.failures > 0;
  }

  /** How long the plugin is left alone (ms). */
  remainingMs(hurry: Hurry): number {
    return this.#whole.remainingMs(hurry);
  }

  /** The answer while a scope is left alone; undefined when the plugin may be run for it. */
  backingOff(scope: string, hurry: Hurry): PluginFailed | undefined {
    const own = this.#byScope.get(scope);
    const remainingMs = Math.max(this.#whole.remainingMs(hurry), own?.remainingMs(hurry) ?? 0);
    if (remainingMs === 0) return undefined;
    const failures = Math.max(this.#whole.failures, own?.failures ?? 0);
    const times = failures === 1 ? "once" : `${failures} times in a row`;
    return {
      kind: "failed",
      reason: "plugin-backing-off",
      detail: `plugin ${this.#name}: it failed ${times} and is not run again yet${this.#last}`,
      retryAtMs: this.#environment.clock.wallMs() + remainingMs,
    };
  }

  /** @param scope Undefined where it is not known: then the plugin's own backoff tells all. */
  failed(scope: string | undefined, { startedAtMs, reason, detail }: PluginFailure): void {
    const notStarted = reason === "plugin-missing" || reason === "plugin-not-executable";
    const maxMs = notStarted ? NOT_STARTED_MAX_MS : undefined;
    this.#last = `; the last time: ${reason}: ${detail}`;
    this.#whole.failed(startedAtMs, maxMs);
    if (scope === undefined) return;
    const backoff = this.#byScope.get(scope) ?? new Backoff(this.#environment);
    backoff.failed(startedAtMs, maxMs);
    this.#byScope.delete(scope);
    this.#byScope.set(scope, backoff);
    const [oldest] = this.#byScope.keys();
    if (this.#byScope.size > MAX_SCOPES && oldest !== undefined) this.#byScope.delete(oldest);
  }

  succeeded(scope: string): void {
    this.#whole.succeeded();
    this.#byScope.delete(scope);
  }
}
