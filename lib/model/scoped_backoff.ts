import type { CredentialRequest } from "./provider.ts";
import { Backoff, type BackoffOptions } from "./backoff.ts";

type Hurry = Pick<CredentialRequest, "urgent" | "waiting" | "forcedAtMs">;

const MAX_SCOPES = 4_096;

/**
 * The pauses of one program after failures: of the program as a whole, whatever it is executed for,
 * and of each scope. So a program that hangs costs one execution, and one that fails for a single
 * scope does not hold up the others for long.
 */
export class ScopedBackoff {
  readonly #options: BackoffOptions;
  /** Failures over all scopes, without a success in between. */
  readonly #whole: Backoff;
  readonly #byScope = new Map<string, Backoff>();

  constructor(options: BackoffOptions) {
    this.#options = options;
    this.#whole = new Backoff(options);
  }

  /** Whether the last execution failed. */
  get isFailing(): boolean {
    return this.#whole.failures > 0;
  }

  /** Failures in a row of the program or the scope. */
  failures(scope: string): number {
    return Math.max(this.#whole.failures, this.#byScope.get(scope)?.failures ?? 0);
  }

  /** How long (ms) the program is not executed for a scope; 0: it may be. */
  remainingMs(scope: string, hurry: Hurry): number {
    const own = this.#byScope.get(scope)?.remainingMs(hurry) ?? 0;
    return Math.max(this.#whole.remainingMs(hurry), own);
  }

  /**
   * @param scope Undefined where it is not known: then the whole program's pause covers it.
   * @param startedAtMs Monotonic time at which the execution began.
   * @param maxMs A lower limit, for what is cheap to try again.
   */
  failed(scope: string | undefined, startedAtMs: number, maxMs?: number): void {
    this.#whole.failed(startedAtMs, maxMs);
    if (scope === undefined) return;
    const backoff = this.#byScope.get(scope) ?? new Backoff(this.#options);
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
