const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** The lifetime of a service's tokens, and what the service reports about it. */
export interface TokenShape {
  /** The actual lifetime. */
  readonly lifetimeMs: number;
  /** The reported lifetime, counted from the issue; undefined = not reported. */
  readonly reportedLifetimeMs?: number;
  /** `cacheDuration`; undefined = 0, "do not cache". */
  readonly hintMs?: number;
}

/** The token source of a fleet. */
export interface SourceShape {
  readonly name: string;
  readonly description: string;
  /** Token shapes, assigned to the nodes round-robin. */
  readonly tokens: readonly TokenShape[];
  /**
   * `shared`: one token service for the fleet, with its bucket. `local`: a metadata server on each
   * node, which returns the same token until shortly before its expiry.
   */
  readonly place: "shared" | "local";
  /** The configured `refresh_interval`; the default when absent. */
  readonly refreshIntervalMs?: number;
}

/** Token sources like those of the clouds, and one with implausible values. */
export const SOURCES: readonly SourceShape[] = [
  {
    name: "12h-6h",
    description: "12 h, reported; hint 6 h (ECR)",
    tokens: [{ lifetimeMs: 12 * HOUR_MS, reportedLifetimeMs: 12 * HOUR_MS, hintMs: 6 * HOUR_MS }],
    place: "shared",
  },
  {
    name: "3h-1h",
    description: "3 h, reported; hint 1 h (ACR)",
    tokens: [{ lifetimeMs: 3 * HOUR_MS, reportedLifetimeMs: 3 * HOUR_MS, hintMs: HOUR_MS }],
    place: "shared",
  },
  {
    name: "hidden-1h",
    description: "1 h, not reported; hint 0, from a metadata server on the node (GAR)",
    tokens: [{ lifetimeMs: HOUR_MS }],
    place: "local",
  },
  {
    name: "hidden-1h-shared",
    description: "1 h, not reported; hint 0, one shared service, refresh_interval = 20m",
    tokens: [{ lifetimeMs: HOUR_MS }],
    place: "shared",
    // With the default interval, 10,000 nodes exceed a token bucket of 20 calls per second.
    refreshIntervalMs: 20 * MINUTE_MS,
  },
  {
    name: "12h-0",
    description: "12 h, reported; hint 0",
    tokens: [{ lifetimeMs: 12 * HOUR_MS, reportedLifetimeMs: 12 * HOUR_MS }],
    place: "shared",
  },
  {
    name: "lies",
    description:
      "12 h: a hint of 24 h, a hint of a microsecond, an expiry in the past with a hint of 6 h",
    tokens: [
      { lifetimeMs: 12 * HOUR_MS, reportedLifetimeMs: 12 * HOUR_MS, hintMs: 24 * HOUR_MS },
      { lifetimeMs: 12 * HOUR_MS, reportedLifetimeMs: 12 * HOUR_MS, hintMs: 0.001 },
      { lifetimeMs: 12 * HOUR_MS, reportedLifetimeMs: -HOUR_MS, hintMs: 6 * HOUR_MS },
    ],
    place: "shared",
  },
];
