import {
  type CredentialSubject,
  type Daemon,
  type RafsInstance,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { InstanceRecord } from "./mount_records.ts";

/** A mount, and the daemon that serves it. */
export interface Mount {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
}

/** Mounts that a credential is for. */
interface Served {
  readonly subject: CredentialSubject;
  readonly mounts: Mount[];
}

/** The mounts that discovery found last: which there are, and what their credentials are for. */
export class Mounts {
  #daemons: ReadonlyMap<string, Daemon> = new Map();
  #served: ReadonlyMap<string, Served> = new Map();

  /** By id. */
  get daemons(): ReadonlyMap<string, Daemon> {
    return this.#daemons;
  }

  /** What credentials are for, by {@linkcode subjectKey}; without mounts of unknown images. */
  get subjects(): ReadonlyMap<string, { readonly subject: CredentialSubject }> {
    return this.#served;
  }

  /** The mounts that a credential is for, by {@linkcode subjectKey}. */
  of(key: string): readonly Mount[] {
    return this.#served.get(key)?.mounts ?? [];
  }

  /** Replaces what was found before. */
  take(daemons: readonly Daemon[]): void {
    const all = new Map<string, Served>();
    for (const daemon of daemons) {
      for (const instance of daemon.instances) {
        const subject = subjectOf(instance);
        if (subject === undefined) continue;
        const key = subjectKey(subject);
        const served = all.get(key) ?? { subject, mounts: [] };
        served.mounts.push({ daemon, instance });
        all.set(key, served);
      }
    }
    this.#daemons = new Map(daemons.map((daemon) => [daemon.id, daemon]));
    this.#served = all;
  }
}

/** The key of the store for a mount; undefined when its image is not known. */
export function storeKeyOf(instance: RafsInstance): string | undefined {
  const subject = subjectOf(instance);
  return subject && subjectKey(subject);
}

/**
 * A record after discovery: what nydusd holds now replaces what was known.
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
  const currentAuth = instance.mountId === undefined
    ? undefined
    : daemon.currentAuth?.get(instance.mountId);
  const reset = replaced || daemon.state !== "running";
  if (!reset && (record.confirmedAtMs ?? -Infinity) >= startedMs) return record;
  const { currentAuth: before, fileFingerprint, retryAtMs, ...others } = record;
  const { behindSinceMs, ...same } = others;
  const { storedAtMs: _, proven: __, provenReads: ___, ...rest } = same;
  // Somebody else gave it another value: when that came, and what it is worth, nobody knows.
  const isOther = currentAuth !== undefined && before !== undefined && !currentAuth.equals(before);
  return {
    ...(isOther ? rest : same),
    ...(behindSinceMs !== undefined && !replaced && { behindSinceMs }),
    ...(currentAuth !== undefined && { currentAuth }),
    ...(fileFingerprint !== undefined && !replaced && { fileFingerprint }),
    ...(retryAtMs !== undefined && !reset && { retryAtMs }),
  };
}
