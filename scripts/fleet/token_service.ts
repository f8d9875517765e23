/** Rate limits of a token service. */
export interface ServiceLimits {
  readonly callsPerSecond: number;
  readonly burst: number;
  /** `Retry-After` of a 429 response; undefined = without the header. */
  readonly retryAfterMs?: number;
}

/** Period in which the service is unavailable, in ms since the start. */
export interface Outage {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Result of a call. */
export type ServiceResponse =
  | { readonly kind: "granted" }
  | { readonly kind: "throttled"; readonly retryAfterMs?: number }
  | { readonly kind: "down" };

/** A token bucket in virtual time that records every call. */
export class TokenService {
  readonly limits: ServiceLimits;
  /** Calls in each second, and the granted ones. */
  readonly calls: Uint32Array;
  readonly granted: Uint32Array;
  /** Seconds in which a call was throttled. */
  readonly #throttled: Uint8Array;
  readonly #outage: Outage | undefined;
  #tokens: number;
  #filledAtMs = 0;

  constructor(limits: ServiceLimits, spanMs: number, outage?: Outage) {
    const seconds = Math.ceil(spanMs / 1_000) + 1;
    this.limits = limits;
    this.calls = new Uint32Array(seconds);
    this.granted = new Uint32Array(seconds);
    this.#throttled = new Uint8Array(seconds);
    this.#outage = outage;
    this.#tokens = limits.burst;
  }

  call(nowMs: number): ServiceResponse {
    const second = Math.floor(nowMs / 1_000);
    this.calls[second] = (this.calls[second] ?? 0) + 1;
    if (this.isDown(nowMs)) return { kind: "down" };
    const { callsPerSecond, burst, retryAfterMs } = this.limits;
    const filled = (nowMs - this.#filledAtMs) / 1_000 * callsPerSecond;
    this.#tokens = Math.min(burst, this.#tokens + filled);
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) {
      this.#throttled[second] = 1;
      return { kind: "throttled", ...(retryAfterMs !== undefined && { retryAfterMs }) };
    }
    this.#tokens--;
    this.granted[second] = (this.granted[second] ?? 0) + 1;
    return { kind: "granted" };
  }

  isDown(nowMs: number): boolean {
    const outage = this.#outage;
    return outage !== undefined && nowMs >= outage.fromMs && nowMs < outage.untilMs;
  }

  /** Whether every call would have been granted for `spanMs` within a period. */
  wasAvailableFor(spanMs: number, fromMs: number, untilMs: number): boolean {
    let availableMs = 0;
    for (let second = Math.ceil(Math.max(0, fromMs) / 1_000); second * 1_000 < untilMs; second++) {
      const isAvailable = !this.isDown(second * 1_000) && this.#throttled[second] === 0;
      availableMs = isAvailable ? availableMs + 1_000 : 0;
      if (availableMs >= spanMs) return true;
    }
    return false;
  }
}
