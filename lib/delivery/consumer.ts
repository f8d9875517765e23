import type { Daemon, FsDriver } from "../model/mod.ts";

/** A kind of daemon: how a new credential reaches it. */
export interface Consumer {
  /**
   * Why it reads its credential only at its start; undefined if its configuration API stores a new
   * one and returns it for comparison.
   */
  readonly restartReason?: string;
  /** Whether its API lists every mount as soon as it serves it. */
  readonly listsMounts: boolean;
  /** Where its configuration file has the backend: the path to its type and to its settings. */
  readonly sections: readonly Section[];
}

/** A section of a configuration file with a backend. */
export interface Section {
  readonly type: readonly string[];
  readonly settings: readonly string[];
}

const FUSE: Section = {
  type: ["device", "backend", "type"],
  settings: ["device", "backend", "config"],
};
const FSCACHE: Section = {
  type: ["config", "backend_type"],
  settings: ["config", "backend_config"],
};

/**
 * From which version, as one number, nydusd uses a stored credential after which delay (ms). Sources
 * in `dragonflyoss/nydus`: `api/src/http_handler.rs` (before 2.4.1 without a route /config),
 * `storage/src/backend/registry.rs` (2.4.1: `refresh_cached_auth_from_config` before every request;
 * since 2.4.2 a thread polls with `REGISTRY_CONFIG_POLL_INTERVAL`). Version 3 has no API.
 */
const IN_USE_DELAYS: readonly (readonly [since: number, delayMs: number | undefined])[] = [
  [0, undefined],
  [2_004_001, 0],
  [2_004_002, 5_000],
  [3_000_000, undefined],
];
const LATEST = "2.4.4";

/** Returns how a new credential reaches a daemon. */
export function consumerOf(
  { configApi, version = "of an unknown version" }: Pick<Daemon, "configApi" | "version">,
  fsDriver: FsDriver,
): Consumer {
  const isFscache = fsDriver === "fscache";
  const consumer: Consumer = {
    listsMounts: !isFscache,
    sections: isFscache ? [FSCACHE, FUSE] : [FUSE, FSCACHE],
  };
  if (numberOf(version) >= 3_000_000) {
    return { ...consumer, restartReason: `nydusd ${version} reads its credential once at start` };
  }
  if (configApi !== "unsupported") return consumer;
  return { ...consumer, restartReason: `nydusd ${version} has no configuration API` };
}

/**
 * Returns the delay (ms) after which a nydusd of this version uses a stored credential. Undefined
 * for versions without the configuration API. An unknown version counts as the latest with it.
 */
export function inUseDelayMs(version: string): number | undefined {
  const own = numberOf(version);
  return IN_USE_DELAYS.findLast(([since]) => own >= since)?.[1];
}

function numberOf(version: string): number {
  const [, major, minor = 0, patch = 0] = /^v?(\d+)(?:\.(\d+)\.(\d+))?/.exec(version) ?? [];
  if (major === undefined) return numberOf(LATEST);
  return Number(major) * 1_000_000 + Number(minor) * 1_000 + Number(patch);
}
