/**
 * How long after a value is stored a nydusd of this version uses it, in milliseconds. Undefined for
 * versions without the configuration API.
 *
 * | nydusd | what it does |
 * | --- | --- |
 * | 2.4.0 and before | has no such API |
 * | 2.4.1 | reads the value at its next request |
 * | 2.4.2 and later | a thread looks every 5 s (`storage/src/backend/registry.rs`) |
 *
 * A version that does not parse is taken for a new one.
 */
export function inUseDelayMs(version: string): number | undefined {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version);
  if (parts === null) return POLL_MS;
  const [major = 0, minor = 0, patch = 0] = parts.slice(1).map(Number);
  const order = major * 1_000_000 + minor * 1_000 + patch;
  if (order <= 2_004_000) return undefined;
  return order === 2_004_001 ? 0 : POLL_MS;
}

const POLL_MS = 5_000;
