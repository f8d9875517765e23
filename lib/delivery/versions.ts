/** What nydusd from one version on, up to the next, does with a value that was stored. */
export interface InUseDelay {
  readonly since: readonly [major: number, minor: number, patch: number];
  /** In milliseconds; undefined: there is no configuration API. */
  readonly delayMs: number | undefined;
  readonly words: string;
  /** Where it was read, in `dragonflyoss/nydus` at the tag of this version. */
  readonly source: string;
}

/** By version, the oldest first. */
export const IN_USE_DELAYS: readonly InUseDelay[] = [
  {
    since: [0, 0, 0],
    delayMs: undefined,
    words: "has no configuration API",
    source: "v2.4.0: api/src/http_handler.rs has no route /config",
  },
  {
    since: [2, 4, 1],
    delayMs: 0,
    words: "looks at the value before every read",
    source:
      "v2.4.1: storage/src/backend/registry.rs, refresh_cached_auth_from_config in its reader",
  },
  {
    since: [2, 4, 2],
    delayMs: 5_000,
    words: "has a thread that looks every 5 s",
    source: "v2.4.2 to v2.4.4: storage/src/backend/registry.rs, REGISTRY_CONFIG_POLL_INTERVAL = 5",
  },
];

/**
 * How long after a value is stored a nydusd of this version uses it, in milliseconds
 * ({@linkcode IN_USE_DELAYS}). Undefined for versions without the configuration API. A version that
 * does not parse is taken for a new one.
 */
export function inUseDelayMs(version: string): number | undefined {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version);
  const found = parts === null
    ? IN_USE_DELAYS.at(-1)
    : IN_USE_DELAYS.findLast(({ since }) => isSince(parts.slice(1).map(Number), since));
  return found?.delayMs;
}

function isSince(version: readonly number[], since: InUseDelay["since"]): boolean {
  for (const [i, part] of since.entries()) {
    const own = version[i] ?? 0;
    if (own !== part) return own > part;
  }
  return true;
}
