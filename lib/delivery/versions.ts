/** How nydusd uses a stored credential, from one version up to the next in the table. */
export interface InUseDelay {
  readonly since: readonly [major: number, minor: number, patch: number];
  /** Maximum delay in milliseconds; undefined without a configuration API. */
  readonly delayMs: number | undefined;
  /** The code in `dragonflyoss/nydus` at the tag of this version. */
  readonly source: string;
}

/** Oldest version first. */
export const IN_USE_DELAYS: readonly InUseDelay[] = [
  {
    since: [0, 0, 0],
    delayMs: undefined,
    source: "v2.4.0: api/src/http_handler.rs has no route /config",
  },
  {
    since: [2, 4, 1],
    delayMs: 0, // reads the value before every request
    source:
      "v2.4.1: storage/src/backend/registry.rs, refresh_cached_auth_from_config in its reader",
  },
  {
    since: [2, 4, 2],
    delayMs: 5_000, // a thread polls the value
    source: "v2.4.2 to v2.4.4: storage/src/backend/registry.rs, REGISTRY_CONFIG_POLL_INTERVAL = 5",
  },
];

/**
 * Returns the delay (ms) after which a nydusd of this version uses a stored credential. Undefined
 * for versions without the configuration API. An unknown version counts as the latest.
 */
export function inUseDelayMs(version: string): number | undefined {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
  const found = parts === undefined
    ? IN_USE_DELAYS.at(-1)
    : IN_USE_DELAYS.findLast(({ since }) => isAtLeast(parts, since));
  return found?.delayMs;
}

function isAtLeast(version: readonly number[], since: InUseDelay["since"]): boolean {
  for (const [i, part] of since.entries()) {
    const own = version[i] ?? 0;
    if (own !== part) return own > part;
  }
  return true;
}
