import type {
  CallOptions,
  PeerResult,
  SnapshotterApi,
  SnapshotterDaemon,
} from "../../lib/model/mod.ts";

/** A system API that returns a list or failure that a test defines. */
export class FakeSnapshotterApi implements SnapshotterApi {
  answer: PeerResult<readonly SnapshotterDaemon[]> = { kind: "ok", value: [] };
  calls = 0;
  readonly signals: (AbortSignal | undefined)[] = [];

  /** Adds a daemon with instances (snapshot ID → image ID). */
  list(id: string, apiSocket: string, instances: Record<string, string>, pid = 100): void {
    const daemon: SnapshotterDaemon = {
      id,
      pid,
      apiSocket,
      instances: Object.entries(instances).map(([snapshotId, imageId]) => ({
        snapshotId,
        imageId,
      })),
    };
    const before = this.answer.kind === "ok" ? this.answer.value : [];
    this.answer = { kind: "ok", value: [...before, daemon] };
  }

  daemons(_socket: string, { signal }: CallOptions = {}): Promise<FakeSnapshotterApi["answer"]> {
    signal?.throwIfAborted();
    this.signals.push(signal);
    this.calls++;
    return Promise.resolve(this.answer);
  }
}
