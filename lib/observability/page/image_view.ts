import type { AgentStatus, DaemonStatus, ImageStatus, InstanceStatus } from "../../model/mod.ts";
import type { Finding } from "../finding.ts";
import { findingsOf } from "../findings.ts";
import type { HealthLevel } from "../health.ts";

/** An image's health in one word, worst first, each with its meaning. */
export const HEALTH_STATES = {
  "expired": "its credential is dead: reads of parts not fetched yet fail",
  "unread": "reads of a mount fail, although it has what there is",
  "failing": "renewing its credential fails",
  "missing": "no credential could be had, because a source fails",
  "undelivered": "a mount lacks the credential",
  "adopted": "no source has a credential; mounts keep the one that they hold",
  "waiting": "a mount waits for its first delivery",
  "renewing": "its credential is due for renewal",
  "fresh": "every mount holds a valid credential",
  "public": "it needs no credential, or nobody has one for it",
} as const;
/** A word out of {@linkcode HEALTH_STATES}. */
export type HealthState = keyof typeof HEALTH_STATES;

/** A mount and the nydusd that serves it. */
export interface MountView {
  readonly daemon: DaemonStatus;
  readonly mount: InstanceStatus;
}

/** All that the page shows of an image. */
export interface ImageView {
  readonly image: ImageStatus;
  readonly mounts: readonly MountView[];
  readonly word: HealthState;
  readonly level: HealthLevel;
  /** What is wrong with it, the worst first. */
  readonly findings: readonly Finding[];
}

/** Every image with its mounts, those in trouble first, then what is renewed next. Pure. */
export function imageViews(status: AgentStatus, nowMs: number): readonly ImageView[] {
  const mounts = grouped(
    status.daemons.flatMap((daemon) => daemon.instances.map((mount) => ({ daemon, mount }))),
    ({ mount }) => mount.image && locationKey(mount.image, mount.endpoint),
  );
  const findings = grouped(findingsOf(status, nowMs), ({ image }) => image);
  const views = status.images.map((image): ImageView => {
    const own = findings.get(image.image) ?? [];
    const critical = own.filter(({ level }) => level === "critical");
    const level = critical.length > 0 ? "critical" : own.length > 0 ? "warning" : "ok";
    const view = {
      image,
      mounts: mounts.get(locationKey(image.image, image.endpoint)) ?? [],
      level,
    } as const;
    const sorted = [...critical, ...own.filter((finding) => finding.level === "warning")];
    return { ...view, word: stateOf(image, view.mounts, own, nowMs), findings: sorted };
  });
  return views.sort(byUrgency);
}

/** How one mount stands. */
export function mountLevel(
  { delivery, readsFailingSinceMs, behindSinceMs }: InstanceStatus,
): HealthLevel {
  const isUnserved = delivery === "refused" || delivery === "unreachable" ||
    delivery === "unsupported" || delivery === "withheld";
  const isFailing = isUnserved || readsFailingSinceMs !== undefined || behindSinceMs !== undefined;
  return isFailing ? "warning" : "ok";
}

function locationKey(image: string, endpoint: string | undefined): string {
  return endpoint === undefined ? image : `${image} ${endpoint}`;
}

function grouped<T>(
  items: readonly T[],
  keyOf: (item: T) => string | undefined,
): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    if (key === undefined) continue;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
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
  if (findings.some(({ area }) => area === "reads")) return "unread";
  if (provider === "adopted") return "adopted";
  if (findings.some(({ area }) => area === "credentials")) {
    return provider === undefined ? "missing" : "failing";
  }
  if (findings.length > 0) return "undelivered";
  if (provider === undefined) return "public";
  if (mounts.some(({ mount }) => mount.delivery === "pending")) return "waiting";
  return window === "advisory" || window === "mandatory" ? "renewing" : "fresh";
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
