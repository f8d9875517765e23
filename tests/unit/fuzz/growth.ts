/**
 * Whether work grows with its input and no faster, judged by ratios within one run, never by times.
 *
 * @module
 */

const USUAL_LARGEST = 16_384;
const DOUBLINGS = 4;
/** Work below this is lost in the noise of clock, compiler and neighbours: it cannot be judged. */
const NOISE_MS = 24;
/** On a busy machine most runs are disturbed: the best of so many counts. */
const RUNS = 10;
/** Growth by doubling: linear work shows 2 (and a little more when memory is short), quadratic 4. */
const TOO_FAST = 3;

/** How the work for the largest input compares with what a smaller one promises. */
export interface Growth {
  readonly isLinear: boolean;
  /** For people: times by size. */
  readonly details: string;
}

/**
 * Measures some work for inputs that halve in size, until it is too little to be judged; the best
 * of several runs counts.
 */
export async function growthOf(
  work: (text: string) => unknown,
  of: (n: number) => string,
  largest = USUAL_LARGEST,
): Promise<Growth> {
  const times: number[] = [];
  for (let size = largest; size >= largest / 2 ** DOUBLINGS; size /= 2) {
    const ms = await timeOf(work, of(size));
    times.push(ms);
    if (ms < NOISE_MS / 16) break;
  }
  const details = times.map((ms, i) => `${largest / 2 ** i}: ${ms.toFixed(2)} ms`).join(", ");
  const [largestMs = 0] = times;
  const smallestMs = Math.max(times.at(-1) ?? 0, NOISE_MS / 32);
  const isLinear = largestMs < NOISE_MS ||
    largestMs <= smallestMs * TOO_FAST ** (times.length - 1);
  return { isLinear, details };
}

async function timeOf(work: (text: string) => unknown, text: string): Promise<number> {
  let bestMs = Infinity;
  for (let run = 0; run < RUNS; run++) {
    const startedMs = performance.now();
    try {
      await work(text);
    } catch {
      // Refused: the time for that counts just the same.
    }
    bestMs = Math.min(bestMs, performance.now() - startedMs);
    if (bestMs < NOISE_MS || bestMs > 500) break;
  }
  return bestMs;
}
