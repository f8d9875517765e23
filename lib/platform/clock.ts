import type { Clock, Random } from "../model/mod.ts";

/** A longer `setTimeout` fires immediately. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** The wall clock and the monotonic clock of the machine. */
export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  async sleep(ms, { signal } = {}) {
    let restMs = Math.max(0, ms);
    while (restMs > MAX_TIMEOUT_MS) {
      await pause(MAX_TIMEOUT_MS, signal);
      restMs -= MAX_TIMEOUT_MS;
    }
    await pause(restMs, signal);
  },
};

/** Random numbers for jitter. Not for secrets. */
export const systemRandom: Random = { next: () => Math.random() };
