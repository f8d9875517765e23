const FIRST_MS = 1_000;
const CEILING_MS = 20_000;
const MAX_MS = 5 * 60_000;
/** Ten minutes of failures, about: a fleet that boots together has been served by then. */
const HOPEFUL_FAILURES = 60;

/**
 * The most (ms) to pause after so many failures in a row while an image has no credential of any
 * source yet.
 *
 * A pause that goes on doubling would have the last nodes of a fleet that booted together sleep
 * while the token service is idle: it stays at twenty seconds for as long as such a boot may take
 * (10,000 nodes on 20 calls a second: 490 s), and grows to five minutes only after that.
 */
export function waitingCeilingMs(failures: number): number {
  if (failures <= HOPEFUL_FAILURES) return Math.min(FIRST_MS * 2 ** failures, CEILING_MS);
  return Math.min(CEILING_MS * 2 ** Math.min(failures - HOPEFUL_FAILURES, 10), MAX_MS);
}
