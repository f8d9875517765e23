const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** What a token service gives, and what it says of it. */
export interface TokenShape {
  /** How long a token really lives. */
  readonly lifetimeMs: number;
  /** The end of its life as the token tells it, counted from its issue; undefined = not told. */
  readonly toldLifeMs?: number;
  /** `cacheDuration`; undefined = 0, "do not cache". */
  readonly hintMs?: number;
}

/** A fleet's source: which shapes its nodes meet, and where it stands. */
export interface SourceShape {
  readonly name: string;
  readonly words: string;
  /** Nodes take these in turn. */
  readonly tokens: readonly TokenShape[];
  /**
   * `shared`: one token service for the fleet, with its bucket. `local`: a metadata server on each
   * node, which gives the same token until shortly before its end.
   */
  readonly place: "shared" | "local";
  /** The operator's wish; the default where it is left out. */
  readonly refreshIntervalMs?: number;
}

/** The token shapes of the clouds, and of sources that say what is not so. */
export const SOURCES: readonly SourceShape[] = [
  {
    name: "12h-6h",
    words: "12 h, told; hint 6 h (ECR)",
    tokens: [{ lifetimeMs: 12 * HOUR_MS, toldLifeMs: 12 * HOUR_MS, hintMs: 6 * HOUR_MS }],
    place: "shared",
  },
  {
    name: "3h-1h",
    words: "3 h, told; hint 1 h (ACR)",
    tokens: [{ lifetimeMs: 3 * HOUR_MS, toldLifeMs: 3 * HOUR_MS, hintMs: HOUR_MS }],
    place: "shared",
  },
  {
    name: "hidden-1h",
    words: "1 h, not told; hint 0, from a metadata server on the node (GAR)",
    tokens: [{ lifetimeMs: HOUR_MS }],
    place: "local",
  },
  {
    name: "hidden-1h-shared",
    words: "1 h, not told; hint 0, one service for all, refresh_interval = 20m",
    tokens: [{ lifetimeMs: HOUR_MS }],
    place: "shared",
    // Asked every four minutes, 10,000 nodes are more than a bucket of 20 a second can serve.
    refreshIntervalMs: 20 * MINUTE_MS,
  },
  {
    name: "12h-0",
    words: "12 h, told; hint 0",
    tokens: [{ lifetimeMs: 12 * HOUR_MS, toldLifeMs: 12 * HOUR_MS }],
    place: "shared",
  },
  {
    name: "lies",
    words:
      "12 h: a hint of 24 h, a hint of a microsecond, an end that is past beside a hint of 6 h",
    tokens: [
      { lifetimeMs: 12 * HOUR_MS, toldLifeMs: 12 * HOUR_MS, hintMs: 24 * HOUR_MS },
      { lifetimeMs: 12 * HOUR_MS, toldLifeMs: 12 * HOUR_MS, hintMs: 0.001 },
      { lifetimeMs: 12 * HOUR_MS, toldLifeMs: -HOUR_MS, hintMs: 6 * HOUR_MS },
    ],
    place: "shared",
  },
];
