import {
  type CredentialSubject,
  type Daemon,
  type InstanceKey,
  instanceKey,
  type RafsInstance,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { InstanceRecord } from "./instance_book.ts";

/** A mount, and the daemon that serves it. */
export interface Mount {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
}

/** Mounts that a credential is for. */
interface Served {
  readonly subject: CredentialSubject;
  readonly mounts: { readonly daemonId: string; readonly instance: RafsInstance }[];
}

/** The mounts of the last look: which there are, and what their credentials are for. */
export class Mounts {
  #daemons: ReadonlyMap<string, Daemon> = new Map();
  #served: ReadonlyMap<string, Served> = new Map();
  readonly #live = new Set<InstanceKey>();

  get daemons(): ReadonlyMap<string, Daemon> {
    return this.#daemons;
  }

  /** The keys of all mounts. */
  get live(): ReadonlySet<InstanceKey> {
    return this.#live;
  }

  /**
   * What credentials are for, by {@linkcode subjectKey}; mounts of unknown images are left out. The
   * same map as long as there are the same mounts.
   */
  get subjects(): ReadonlyMap<string, { readonly subject: CredentialSubject }> {
    return this.#served;
  }

  /** The mounts that a credential is for, by {@linkcode subjectKey}. */
  of(key: string): readonly Mount[] {
    return (this.#served.get(key)?.mounts ?? []).flatMap(({ daemonId, instance }) => {
      const daemon = this.#daemons.get(daemonId);
      return daemon === undefined ? [] : { daemon, instance };
    });
  }

  /** Takes in a look; whether there are other mounts than before. */
  take(daemons: readonly Daemon[]): boolean {
    const before = this.#daemons;
    this.#daemons = new Map(daemons.map((daemon) => [daemon.id, daemon]));
    if (hasSameMounts(before, this.#daemons)) return false;
    this.#live.clear();
    const all = new Map<string, Served>();
    for (const { id, instances } of daemons) {
      for (const instance of instances) {
        this.#live.add(instanceKey(id, instance.snapshotId));
        const subject = subjectOf(instance);
        if (subject === undefined) continue;
        const key = subjectKey(subject);
        const served = all.get(key) ?? { subject, mounts: [] };
        served.mounts.push({ daemonId: id, instance });
        all.set(key, served);
      }
    }
    this.#served = all;
    return true;
  }
}

/** The key of the store for a mount; undefined when its image is not known. */
export function storeKeyOf(instance: RafsInstance): string | undefined {
  const subject = subjectOf(instance);
  return subject && subjectKey(subject);
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

/**
 * A record after a look: what nydusd holds now replaces what was believed; itself when that changes
 * nothing.
 *
 * @param startedMs Monotonic time at which discovery started: what it read of a mount may be older
 * than a delivery that ended since.
 * @param replaced Whether another process answers: its file may be somebody else's.
 */
export function observed(
  record: InstanceRecord,
  daemon: Daemon,
  instance: RafsInstance,
  startedMs: number,
  replaced: boolean,
): InstanceRecord {
  const held = instance.mountId === undefined ? undefined : daemon.held?.get(instance.mountId);
  const reset = replaced || daemon.state !== "running";
  if (!reset && held !== undefined && record.held === held) return record;
  if (!reset && (record.confirmedAtMs ?? -Infinity) >= startedMs) return record;
  const { held: before, settledWith: _, fileFingerprint, retryAtMs, ...others } = record;
  const { behindSinceMs, ...same } = others;
  const { storedAtMs: __, proven: ___, provenReads: ____, ...rest } = same;
  // Somebody else gave it another value: when that came, and what it is worth, nobody knows.
  const isOther = held !== undefined && before !== undefined && !held.equals(before);
  return {
    ...(isOther ? rest : same),
    ...(behindSinceMs !== undefined && !replaced && { behindSinceMs }),
    ...(held !== undefined && { held }),
    ...(fileFingerprint !== undefined && !replaced && { fileFingerprint }),
    ...(retryAtMs !== undefined && !reset && { retryAtMs }),
  };
}
