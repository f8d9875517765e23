import type { ImageStatus } from "../model/mod.ts";

/** What metrics tell of an image, over all the places that it is read from. */
export interface ImageTimes {
  /** The store has a credential from one of its sources. */
  readonly isStored: boolean;
  readonly renewedAtMs?: number;
  readonly expiresAtMs?: number;
  readonly refreshAtMs?: number;
  readonly nextAttemptAtMs?: number;
}

const TIMES = ["renewedAtMs", "expiresAtMs", "refreshAtMs", "nextAttemptAtMs"] as const;

/**
 * One line an image. Where it is read from several places, the earliest of each time: what alarms
 * look at is the place that is worst off.
 */
export function timesByImage(images: readonly ImageStatus[]): ReadonlyMap<string, ImageTimes> {
  const merged = new Map<string, ImageTimes>();
  for (const status of images) {
    const before = merged.get(status.image);
    const after = timesOf(status);
    merged.set(status.image, before === undefined ? after : worseOf(before, after));
  }
  return merged;
}

function timesOf(status: ImageStatus): ImageTimes {
  const isStored = status.provider !== undefined && status.provider !== "adopted";
  const times = TIMES.filter((name) => isStored || name !== "renewedAtMs")
    .flatMap((name) => status[name] === undefined ? [] : [[name, status[name]] as const]);
  return { isStored, ...Object.fromEntries(times) };
}

function worseOf(a: ImageTimes, b: ImageTimes): ImageTimes {
  const times = TIMES.flatMap((name) => {
    const time = Math.min(a[name] ?? Infinity, b[name] ?? Infinity);
    return time === Infinity ? [] : [[name, time] as const];
  });
  return { isStored: a.isStored || b.isStored, ...Object.fromEntries(times) };
}
