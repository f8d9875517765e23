/**
 * Checks that run time grows at most linearly, by ratios within one run instead of absolute times.
 *
 * @module
 */

const DEFAULT_LARGEST = 16_384;
const DOUBLINGS = 4;
/** Shorter work cannot be measured because of clock and compiler. */
const NOISE_MS = 30;
/** The kernel may add the time of a thread only at its ticks: a time may be too short by one. */
const TICK_MS = 4;
/** The best of this many runs counts, because others share the caches. */
const RUNS = 10;
/** Growth per doubling: about 2 for linear work, 4 for quadratic. */
const TOO_FAST = 3;

/** Result of a measurement. */
export interface Growth {
  readonly isLinear: boolean;
  /** Times by size, for display. */
  readonly details: string;
}

/** Measures work for inputs that halve in size, until it is too short to measure. */
export async function growthOf(
  work: (text: string) => unknown,
  of: (n: number) => string,
  largest = DEFAULT_LARGEST,
): Promise<Growth> {
  const times: number[] = [];
  for (let size = largest; size >= largest / 2 ** DOUBLINGS; size /= 2) {
    const ms = await timeOf(work, of(size));
    times.push(ms);
    if (ms < 2 * TICK_MS) break;
  }
  const details = times.map((ms, i) => `${largest / 2 ** i}: ${ms.toFixed(2)} ms`).join(", ");
  const [largestMs = 0] = times;
  const smallestMs = (times.at(-1) ?? 0) + TICK_MS;
  const isLinear = largestMs < NOISE_MS ||
    largestMs <= smallestMs * TOO_FAST ** (times.length - 1);
  return { isLinear, details };
}

async function timeOf(work: (text: string) => unknown, text: string): Promise<number> {
  let bestMs = Infinity;
  for (let run = 0; run < RUNS; run++) {
    const startedMs = threadCpuMs();
    try {
      await work(text);
    } catch {
      // The time until a rejection counts, too.
    }
    bestMs = Math.min(bestMs, threadCpuMs() - startedMs);
    if (bestMs < NOISE_MS || bestMs > 500) break;
  }
  return bestMs;
}

/** CPU time of this thread: other processes, and test files in other threads, do not count. */
function threadCpuMs(): number {
  return parseInt(Deno.readTextFileSync("/proc/thread-self/schedstat")) / 1e6;
}
