import type {
  AgentStatus,
  DaemonStatus,
  ImageStatus,
  InstanceStatus,
} from "../../../lib/model/mod.ts";

/** The wall time of the tests. */
export const NOW_MS = Date.UTC(2026, 0, 1);

/** A process with fixed resources. */
export const PROCESS = {
  residentBytes: () => 4_096,
  cpuSeconds: () => 2.5,
  openDescriptors: () => Promise.resolve<number | undefined>(21),
  descriptorLimit: () => Promise.resolve(1_024),
};

/** Returns the status of a healthy node without mounts. */
export function statusOf(parts: Partial<AgentStatus> = {}): AgentStatus {
  return {
    nowMs: NOW_MS,
    version: "1.2.3",
    startedAtMs: NOW_MS - 3_600_000,
    configHash: "c0ffee".repeat(8),
    firstReconcileAtMs: NOW_MS - 3_590_000,
    lastReconcileAtMs: NOW_MS - 10_000,
    lastReconcileMs: 12,
    checkIntervalMs: 60_000,
    images: [],
    daemons: [],
    problems: [],
    ...parts,
  };
}

/** Returns an image with a valid credential. */
export function imageOf(image: string, parts: Partial<ImageStatus> = {}): ImageStatus {
  return {
    image,
    provider: "kubelet",
    window: "fresh",
    failures: 0,
    renewals: { success: 1, failure: 0 },
    ...parts,
  };
}

/** Returns a running nydusd with mounts. */
export function daemonOf(
  id: string,
  instances: readonly InstanceStatus[],
  parts: Partial<DaemonStatus> = {},
): DaemonStatus {
  return {
    id,
    apiSocket: `/run/${id}/api.sock`,
    source: "system-api",
    state: "running",
    instances,
    ...parts,
  };
}

/** Returns a mount whose credential is in use. */
export function mountOf(snapshotId: string, parts: Partial<InstanceStatus> = {}): InstanceStatus {
  const image = "registry.example/app:1";
  return { snapshotId, mountId: `/${snapshotId}`, image, delivery: "in-use", ...parts };
}
