import type { AgentStatus, DaemonStatus, ImageStatus, InstanceStatus } from "../model/mod.ts";
import { type Finding, findingsOf } from "./findings.ts";
import type { HealthLevel } from "./health.ts";

/** The health states of an image with their meanings, from worst to best. */
export const HEALTH_STATES = {
  "expired": "the credential has expired: reads of data that is not cached fail",
  "read-errors": "reads of a mount fail although its credential was delivered",
  "failing": "renewing the credential fails",
  "missing": "no credential was found because a provider fails",
  "undelivered": "a mount does not have the credential",
  "adopted": "no provider has a credential; mounts keep their current one",
  "pending": "a mount is waiting for its first delivery",
  "renewing": "the credential is due for renewal",
  "valid": "every mount has a valid credential",
  "public": "no credential is needed, or no provider has one",
} as const;
/** A key of {@linkcode HEALTH_STATES}. */
export type HealthState = keyof typeof HEALTH_STATES;

/** A mount and its nydusd. */
export interface MountView {
  readonly daemon: DaemonStatus;
  readonly mount: InstanceStatus;
}

/** An image with its mounts, findings and health. */
export interface ImageView {
  readonly image: ImageStatus;
  readonly mounts: readonly MountView[];
  readonly word: HealthState;
  readonly level: HealthLevel;
  /** Critical ones first. */
  readonly findings: readonly Finding[];
}

/** Returns all images, those with problems first, then by expiry and next renewal. Pure. */
export function imageViews(status: AgentStatus, nowMs: number): readonly ImageView[] {
  const mounts = Map.groupBy(
    status.daemons.flatMap((daemon) => daemon.instances.map((mount) => ({ daemon, mount }))),
    ({ mount }) => mount.image && locationKey(mount.image, mount.endpoint),
  );
  const findingsByImage = Map.groupBy(findingsOf(status, nowMs), ({ image }) => image);
  return status.images.map((image): ImageView => {
    const findings = (findingsByImage.get(image.image) ?? [])
      .toSorted((a, b) => RANK[a.level] - RANK[b.level]);
    const imageMounts = mounts.get(locationKey(image.image, image.endpoint)) ?? [];
    return {
      image,
      mounts: imageMounts,
      word: stateOf(image, imageMounts, findings, nowMs),
      level: findings[0]?.level ?? "ok",
      findings,
    };
  }).sort(byUrgency);
}

/** Returns the level of one mount. */
export function mountLevel(
  { delivery, readsFailingSinceMs, behindSinceMs }: InstanceStatus,
): HealthLevel {
  const isUndelivered = delivery === "refused" || delivery === "unreachable" ||
    delivery === "unsupported" || delivery === "withheld";
  return isUndelivered || readsFailingSinceMs !== undefined || behindSinceMs !== undefined
    ? "warning"
    : "ok";
}

function locationKey(image: string, endpoint: string | undefined): string {
  return endpoint === undefined ? image : `${image} ${endpoint}`;
}

function stateOf(
  { provider, window, expiresAtMs }: ImageStatus,
  mounts: readonly MountView[],
  findings: readonly Finding[],
  nowMs: number,
): HealthState {
  if (window === "expired" || (expiresAtMs !== undefined && expiresAtMs <= nowMs)) {
    return "expired";
  }
  if (findings.some(({ area }) => area === "reads")) return "read-errors";
  if (provider === "adopted") return "adopted";
  if (findings.some(({ area }) => area === "credentials")) {
    return provider === undefined ? "missing" : "failing";
  }
  if (findings.length > 0) return "undelivered";
  if (provider === undefined) return "public";
  if (mounts.some(({ mount }) => mount.delivery === "pending")) return "pending";
  return window === "advisory" || window === "mandatory" ? "renewing" : "valid";
}

const RANK: Readonly<Record<HealthLevel, number>> = { critical: 0, warning: 1, ok: 2 };

function byUrgency(a: ImageView, b: ImageView): number {
  return RANK[a.level] - RANK[b.level] ||
    compare(a.image.expiresAtMs ?? Infinity, b.image.expiresAtMs ?? Infinity) ||
    compare(a.image.nextAttemptAtMs ?? Infinity, b.image.nextAttemptAtMs ?? Infinity) ||
    (a.image.image < b.image.image ? -1 : 1);
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
