import {
  type CallOptions,
  type Daemon,
  type InstanceKey,
  instanceKey,
  type PeerResult,
  type RafsInstance,
} from "../model/mod.ts";

/** Counts the backend reads of one mount (nydusd's metrics, seen from here). */
export interface ReadCounter {
  backendReads(
    socketPath: string,
    options?: CallOptions & { readonly mountId?: string },
  ): Promise<PeerResult<{ readonly reads: number; readonly errors: number }>>;
}

/** What a mount's reads since the last count say. */
export type ReadVerdict = "failed" | "succeeded";

/** What failed reads say of a credential; `worked`: reads with it had succeeded before. */
export type ReadJudgement = "no-doubt" | "suspect" | "worked";

/** A verdict, the mount it is about, and since when its reads were counted. */
export interface ReadFinding {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
  readonly verdict: ReadVerdict;
  /** Reads since the count before. */
  readonly reads: number;
  /** Wall time of the count before: older reads are not in it. */
  readonly sinceMs: number;
}

interface Count {
  readonly pid: number | undefined;
  readonly reads: number;
  readonly errors: number;
  readonly atMs: number;
}

/** Mounts asked in one turn; a node with more is gone through in several. */
const MAX_PER_SLICE = 256;
const MAX_PARALLEL = 8;

/**
 * Watches whether reads fail. nydusd does not say why one failed, but a rise is a reason to look at
 * once: it is the only word that comes back from the consumer of a credential.
 */
export class ReadWatch {
  readonly #counts = new Map<InstanceKey, Count>();
  #next = 0;

  /** Counts once more, and tells what has changed since the last time. Rejects for nothing. */
  async turn(
    daemons: readonly Daemon[],
    counter: ReadCounter,
    nowMs: number,
    options: CallOptions,
  ): Promise<readonly ReadFinding[]> {
    const mounts = daemons.filter(({ state }) => state === "running").flatMap((daemon) =>
      daemon.instances.flatMap((instance) =>
        instance.mountId === undefined ? [] : [{ daemon, instance, mountId: instance.mountId }]
      )
    );
    this.#forget(mounts);
    const due = Array.from({ length: Math.min(MAX_PER_SLICE, mounts.length) }, (_, i) => {
      return mounts[(this.#next + i) % mounts.length];
    });
    this.#next = mounts.length === 0 ? 0 : (this.#next + due.length) % mounts.length;
    const findings: ReadFinding[] = [];
    const worker = async () => {
      for (let mount = due.pop(); mount !== undefined; mount = due.pop()) {
        const { daemon, instance, mountId } = mount;
        const answer = await counter.backendReads(daemon.apiSocket, { ...options, mountId });
        if (answer.kind !== "ok") continue;
        const finding = this.#compare(daemon, instance, answer.value, nowMs);
        if (finding !== undefined) findings.push(finding);
      }
    };
    await Promise.all(Array.from({ length: MAX_PARALLEL }, worker));
    return findings;
  }

  #compare(
    daemon: Daemon,
    instance: RafsInstance,
    { reads, errors }: { readonly reads: number; readonly errors: number },
    nowMs: number,
  ): ReadFinding | undefined {
    const key = instanceKey(daemon.id, instance.snapshotId);
    const before = this.#counts.get(key);
    this.#counts.set(key, { pid: daemon.pid, reads, errors, atMs: nowMs });
    // Another process counts from nothing again.
    if (before === undefined || before.pid !== daemon.pid || reads < before.reads) return undefined;
    if (reads === before.reads && errors === before.errors) return undefined;
    const verdict = errors > before.errors ? "failed" : "succeeded";
    return { daemon, instance, verdict, reads: reads - before.reads, sinceMs: before.atMs };
  }

  #forget(
    mounts: readonly { readonly daemon: Daemon; readonly instance: RafsInstance }[],
  ): void {
    const live = new Set(
      mounts.map(({ daemon, instance }) => instanceKey(daemon.id, instance.snapshotId)),
    );
    for (const key of this.#counts.keys()) if (!live.has(key)) this.#counts.delete(key);
  }
}
