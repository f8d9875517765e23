/** The limits of a token service. */
export interface ServiceLimits {
  readonly callsPerSecond: number;
  readonly burst: number;
  /** Sent along with 429; undefined = 429 alone. */
  readonly retryAfterMs?: number;
}

/** When the service does not answer, in ms since the start. */
export interface Outage {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** What a call came to. */
export type ServiceAnswer =
  | { readonly kind: "granted" }
  | { readonly kind: "throttled"; readonly retryAfterMs?: number }
  | { readonly kind: "down" };

/** A token bucket in virtual time, which notes every call. */
export class TokenService {
  readonly limits: ServiceLimits;
  /** Calls in each second, and those of them that were granted. */
  readonly calls: Uint32Array;
  readonly granted: Uint32Array;
  /** Seconds in which somebody was turned away, for want of tokens or by an outage. */
  readonly #closed: Uint8Array;
  readonly #outage: Outage | undefined;
  #tokens: number;
  #filledAtMs = 0;

  constructor(limits: ServiceLimits, spanMs: number, outage?: Outage) {
    const seconds = Math.ceil(spanMs / 1_000) + 1;
    this.limits = limits;
    this.calls = new Uint32Array(seconds);
    this.granted = new Uint32Array(seconds);
    this.#closed = new Uint8Array(seconds);
    this.#outage = outage;
    this.#tokens = limits.burst;
  }

  call(nowMs: number): ServiceAnswer {
    const second = Math.floor(nowMs / 1_000);
    this.calls[second] = (this.calls[second] ?? 0) + 1;
    if (this.isDown(nowMs)) return { kind: "down" };
    const { callsPerSecond, burst, retryAfterMs } = this.limits;
    const filled = (nowMs - this.#filledAtMs) / 1_000 * callsPerSecond;
    this.#tokens = Math.min(burst, this.#tokens + filled);
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) {
      this.#closed[second] = 1;
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

  /** Whether for so long, within this time, any call would have been granted. */
  wasOpenFor(spanMs: number, fromMs: number, untilMs: number): boolean {
    let openMs = 0;
    for (let second = Math.ceil(Math.max(0, fromMs) / 1_000); second * 1_000 < untilMs; second++) {
      const isOpen = !this.isDown(second * 1_000) && this.#closed[second] === 0;
      openMs = isOpen ? openMs + 1_000 : 0;
      if (openMs >= spanMs) return true;
    }
    return false;
  }
}
