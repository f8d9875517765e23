import {
  type Clock,
  type Daemon,
  decodeRegistryAuth,
  hardExpiryOf,
  type ImageForecast,
  instanceKey,
  type OutageForecast,
  type RafsInstance,
  type Secret,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import {
  type CredentialStore,
  endOf,
  forecastLife,
  type SourceOutage,
  type StoreEntry,
} from "../store/mod.ts";
import type { Deliveries } from "./deliveries.ts";
import type { InstanceRecord } from "./instance_book.ts";
import type { Mount, Mounts } from "./mounts.ts";

/** When the reads of a mount end if no source answers any more, and whether that is a guess. */
export type ReadsEnd = { readonly atMs: number; readonly learned: boolean };

/** Delivery to these has been tried, and what they hold is what they go on with. */
const NOT_TOLD: readonly InstanceRecord["state"][] = [
  "refused",
  "unsupported",
  "file-only",
  "withheld",
];

/**
 * Until when one mount can read if every source is silent from now on. What the store has counts
 * as far as nydusd can still be given it; else what nydusd holds. Undefined: no end is known.
 */
export function readsEnd(
  daemon: Daemon,
  record: InstanceRecord,
  entry: StoreEntry | undefined,
  nowMs: number,
): ReadsEnd | undefined {
  const stored = entry?.stored;
  if (stored === undefined) return undefined;
  const ours = endOf(stored.life);
  const { held } = record;
  const canTell = daemon.state === "running" && !NOT_TOLD.includes(record.state);
  // One without a configuration API goes on with what it began with, and does not say what.
  if (held === undefined || held.isEmpty) return canTell ? ours : undefined;
  if (stored.registryAuth?.equals(held)) return ours;
  const theirs = endOfHeld(held, nowMs);
  if (!canTell) return theirs;
  if (ours === undefined || theirs === undefined) return ours;
  return theirs.atMs > ours.atMs ? theirs : ours; // the younger of the two stays
}

/** What the store has for a mount. */
export function entryOf(store: CredentialStore, instance: RafsInstance): StoreEntry | undefined {
  const subject = subjectOf(instance);
  return subject && store.get(subjectKey(subject));
}

function endOfHeld(held: Secret, nowMs: number): ReadsEnd | undefined {
  try {
    const credential = decodeRegistryAuth(held.reveal());
    if (credential === undefined) return undefined;
    const { expiresAtMs } = hardExpiryOf(credential, nowMs);
    return expiresAtMs === undefined ? undefined : { atMs: expiresAtMs, learned: false };
  } catch {
    return undefined; // nydusd takes any text
  }
}

/** What {@linkcode forecastOutage} looks at. */
export interface OutlookInput {
  readonly store: CredentialStore;
  readonly mounts: Mounts;
  readonly deliveries: Deliveries;
  readonly clock: Clock;
  /** How long a nydusd of this version goes on with the old credential; undefined = not known. */
  readonly inUseDelayMs: (version: string) => number | undefined;
}

/** Images that are worked out before other work has its turn. */
const IMAGES_A_TURN = 32;

/** Runs the real schedule ahead through an outage of every source that begins now. */
export async function forecastOutage(
  input: OutlookInput,
  downMs: number,
): Promise<OutageForecast> {
  const { store, clock } = input;
  const nowMs = clock.wallMs();
  const images: ImageForecast[] = [];
  for (const key of input.mounts.subjects.keys()) {
    const mounts = input.mounts.of(key);
    const entry = store.get(key);
    if (entry !== undefined) {
      images.push(forecastImage(input, entry, mounts, { fromMs: nowMs, untilMs: nowMs + downMs }));
    }
    if (images.length % IMAGES_A_TURN === 0) await clock.sleep(0);
  }
  return { nowMs, downMs, images };
}

function forecastImage(
  { store, deliveries, inUseDelayMs }: OutlookInput,
  entry: StoreEntry,
  mounts: readonly Mount[],
  outage: SourceOutage,
): ImageForecast {
  const nowMs = outage.fromMs;
  const life = entry.stored?.provider === "adopted" ? undefined : entry.stored?.life;
  const { failures, renewedByMs } = forecastLife(life, entry.attempts, outage, store.settings);
  let first: ReadsEnd | undefined;
  let delayMs = 0;
  for (const { daemon, instance } of mounts) {
    const record = deliveries.book.get(instanceKey(daemon.id, instance.snapshotId));
    const end = readsEnd(daemon, record, entry, nowMs);
    if (end !== undefined && (first === undefined || end.atMs < first.atMs)) first = end;
    delayMs = Math.max(delayMs, inUseDelayMs(daemon.version ?? "") ?? 0);
  }
  const endsMs = first?.atMs ?? Infinity;
  const renewedMs = renewedByMs ?? outage.untilMs;
  const failingMs = renewedMs + delayMs - Math.max(endsMs, nowMs);
  return {
    image: entry.image.text,
    ...(entry.image.endpoint && { endpoint: entry.image.endpoint.text }),
    mounts: mounts.length,
    failures,
    ...(first && { readsEndAtMs: first.atMs }),
    ...(first?.learned && { readsEndLearned: true }),
    ...(renewedByMs !== undefined && { renewedByMs }),
    ...(failingMs > 0 && { failingMs }),
  };
}
