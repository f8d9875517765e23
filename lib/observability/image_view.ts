import {
  type AgentStatus,
  type DaemonStatus,
  type DeliveryState,
  formatDuration,
  type ImageStatus,
  type InstanceStatus,
  joinNames,
} from "../model/mod.ts";
import type { HealthLevel } from "./health.ts";
import { bySeverity, type FindingCode, type Problem, problemsOf, RANK } from "./problems.ts";

/** The health states of an image from worst to best, as pages name them, with their meanings. */
export const HEALTH_STATES = {
  "expired": state("expired", "the credential has expired: reads of data that is not cached fail"),
  "read-errors": state("reads fail", "reads of a mount fail although its credential was delivered"),
  "failing": state("renewal fails", "renewing the credential fails"),
  "missing": state("no credential", "no credential was found because a provider fails"),
  "undelivered": state("not delivered", "a mount does not have the credential"),
  "adopted": state("not renewed", "no provider has a credential; mounts keep their current one"),
  "pending": state("waiting", "a mount is waiting for its first delivery"),
  "renewing": state("renewing", "the credential is due for renewal"),
  "valid": state("valid", "every mount has a valid credential"),
  "public": state("public", "no credential is needed, or no provider has one"),
} as const;
/** A key of {@linkcode HEALTH_STATES}. */
export type HealthState = keyof typeof HEALTH_STATES;

function state(label: string, meaning: string) {
  return { label, meaning } as const;
}

/** A mount and its nydusd. */
export interface MountView {
  readonly daemon: DaemonStatus;
  readonly mount: InstanceStatus;
}

/** An image with its mounts, problems and health. */
export interface ImageView {
  readonly image: ImageStatus;
  readonly mounts: readonly MountView[];
  readonly word: HealthState;
  readonly level: HealthLevel;
  /** Critical ones first. */
  readonly problems: readonly Problem[];
}

/** Returns all images, those with problems first, then by expiry and next renewal. Pure. */
export function imageViews(status: AgentStatus, nowMs: number): readonly ImageView[] {
  const mounts = Map.groupBy(
    status.daemons.flatMap((daemon) => daemon.instances.map((mount) => ({ daemon, mount }))),
    ({ mount }) => mount.image && locationKey(mount.image, mount.endpoint),
  );
  const problemsByImage = Map.groupBy(problemsOf(status, nowMs), ({ image }) => image);
  return status.images.map((image): ImageView => {
    const problems = (problemsByImage.get(image.image) ?? []).toSorted(bySeverity);
    const imageMounts = mounts.get(locationKey(image.image, image.endpoint)) ?? [];
    return {
      image,
      mounts: imageMounts,
      word: stateOf(image, imageMounts, problems, nowMs),
      level: problems[0]?.severity ?? "ok",
      problems,
    };
  }).sort(byUrgency);
}

/**
 * Returns which mount uses the credential before the current one, or used it last: after that, it can
 * be revoked. Undefined if that is not known, as after a start of the agent.
 */
export function earlierCredentialUse(
  { image: { provider }, mounts }: ImageView,
  nowMs: number,
): string | undefined {
  if (provider === undefined || provider === "adopted") return undefined;
  const label = ({ daemon, mount }: MountView) => `${daemon.id}/${mount.snapshotId}`;
  const users = mounts.filter(({ mount: { delivery, behindSinceMs } }) =>
    behindSinceMs !== undefined || EARLIER_DELIVERIES.includes(delivery)
  );
  if (users.length > 0) return `still used by ${joinNames(users.map(label))}`;
  const at = ({ mount }: MountView) => mount.deliveredAtMs ?? -Infinity;
  const [last] = mounts.toSorted((a, b) => at(b) - at(a));
  if (last?.mount.deliveredAtMs === undefined) return undefined;
  const ago = formatDuration(Math.max(0, nowMs - last.mount.deliveredAtMs));
  return `not used by any mount; the last was ${label(last)}, ${ago} ago`;
}

/** States in which a mount does not have the current credential. */
const EARLIER_DELIVERIES: readonly DeliveryState[] = [
  ...["pending", "refused", "unreachable", "unsupported", "withheld"] as const,
];

/** Returns the level of one mount. */
export function mountLevel(
  { delivery, readsFailingSinceMs, behindSinceMs }: InstanceStatus,
): HealthLevel {
  const isUndelivered = delivery !== "pending" && EARLIER_DELIVERIES.includes(delivery);
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
  problems: readonly Problem[],
  nowMs: number,
): HealthState {
  if ((expiresAtMs ?? Infinity) <= nowMs) return "expired";
  const codes = new Set(problems.map(({ code }): FindingCode => code));
  if (codes.has("reads-failing")) return "read-errors";
  if (codes.has("credential-not-renewed")) return "adopted";
  if (codes.has("renewal-failed")) return "failing";
  if (codes.has("credential-missing")) return "missing";
  if (problems.length > 0) return "undelivered";
  if (provider === undefined) return "public";
  if (mounts.some(({ mount }) => mount.delivery === "pending")) return "pending";
  return window === "advisory" || window === "mandatory" ? "renewing" : "valid";
}

function byUrgency(a: ImageView, b: ImageView): number {
  return RANK[a.level] - RANK[b.level] ||
    // NaN for two infinite times.
    (a.image.expiresAtMs ?? Infinity) - (b.image.expiresAtMs ?? Infinity) ||
    (a.image.nextAttemptAtMs ?? Infinity) - (b.image.nextAttemptAtMs ?? Infinity) ||
    (a.image.image < b.image.image ? -1 : 1);
}
