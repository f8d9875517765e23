import { type Daemon, type InstanceKey, instanceKey, type RafsInstance } from "../model/mod.ts";
import type { InstanceRecord } from "./instance_book.ts";

/** The mounts of the last look: which there are, and who serves an image. */
export class Mounts {
  readonly #daemons = new Map<string, Daemon>();
  readonly #servedBy = new Map<string, string[]>();
  readonly #live = new Set<InstanceKey>();

  get daemons(): ReadonlyMap<string, Daemon> {
    return this.#daemons;
  }

  /** The keys of all mounts. */
  get live(): ReadonlySet<InstanceKey> {
    return this.#live;
  }

  /** The daemons that serve an image. */
  servedBy(image: string): readonly string[] {
    return this.#servedBy.get(image) ?? [];
  }

  /** Takes in a look; whether there are other mounts than before. */
  take(daemons: readonly Daemon[]): boolean {
    const before = new Map(this.#daemons);
    this.#daemons.clear();
    for (const daemon of daemons) this.#daemons.set(daemon.id, daemon);
    if (hasSameMounts(before, this.#daemons)) return false;
    this.#live.clear();
    this.#servedBy.clear();
    for (const { id, instances } of daemons) {
      for (const { snapshotId, image } of instances) {
        this.#live.add(instanceKey(id, snapshotId));
        if (image === undefined) continue;
        const ids = this.#servedBy.get(image.text) ?? [];
        if (ids.at(-1) !== id) ids.push(id);
        this.#servedBy.set(image.text, ids);
      }
    }
    return true;
  }
}

/** Whether the same daemons have the same mounts as before, untouched by the last look. */
function hasSameMounts(
  before: ReadonlyMap<string, Daemon>,
  now: ReadonlyMap<string, Daemon>,
): boolean {
  if (before.size !== now.size) return false;
  for (const [id, { instances }] of now) {
    if (before.get(id)?.instances !== instances) return false;
  }
  return true;
}

/** A record with what a look found; itself when that changes nothing. */
export function observed(
  record: InstanceRecord,
  daemon: Daemon,
  instance: RafsInstance,
  replaced: boolean,
): InstanceRecord {
  const held = instance.mountId === undefined ? undefined : daemon.held?.get(instance.mountId);
  const reset = replaced || daemon.state !== "running";
  if (!reset && held !== undefined && record.held === held) return record;
  const { held: _, settledWith: __, fileFingerprint, retryAtMs, ...rest } = record;
  return {
    ...rest,
    ...(held !== undefined && { held }),
    ...(fileFingerprint !== undefined && !replaced && { fileFingerprint }),
    ...(retryAtMs !== undefined && !reset && { retryAtMs }),
  };
}
