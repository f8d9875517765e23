import {
  type Daemon,
  decodeRegistryAuth,
  hardExpiryOf,
  type RafsInstance,
  type Secret,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../store/mod.ts";
import type { InstanceRecord } from "./instance_book.ts";

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
): number | undefined {
  const stored = entry?.stored;
  if (stored === undefined) return undefined;
  const ours = stored.life.hardExpiresAtMs;
  const { held } = record;
  const canTell = daemon.state === "running" && !NOT_TOLD.includes(record.state);
  // One without a configuration API goes on with what it began with, and does not say what.
  if (held === undefined || held.isEmpty) return canTell ? ours : undefined;
  if (stored.registryAuth?.equals(held)) return ours;
  const theirs = endOfHeld(held, nowMs);
  if (!canTell) return theirs;
  if (ours === undefined || theirs === undefined) return ours;
  return theirs > ours ? theirs : ours; // the younger of the two stays
}

/** What the store has for a mount. */
export function entryOf(store: CredentialStore, instance: RafsInstance): StoreEntry | undefined {
  const subject = subjectOf(instance);
  return subject && store.get(subjectKey(subject));
}

function endOfHeld(held: Secret, nowMs: number): number | undefined {
  try {
    const credential = decodeRegistryAuth(held.reveal());
    if (credential === undefined) return undefined;
    return hardExpiryOf(credential, nowMs).expiresAtMs;
  } catch {
    return undefined; // nydusd takes any text
  }
}
