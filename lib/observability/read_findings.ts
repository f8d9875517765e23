import { type DaemonStatus, formatDuration, type InstanceStatus } from "../model/mod.ts";
import type { Finding } from "./finding.ts";

/** A rotation makes reads fail for seconds: what lasts longer does not mend itself. */
const READS_LAST_MS = 30_000;

/** What a mount whose reads fail has, by the state of its delivery. */
const REASONS: Partial<Record<InstanceStatus["delivery"], string>> = {
  "none": "and no provider has a credential for it",
  "adopted": "although it keeps the credential that it held",
  "stored": "although it has been given its credential",
  "in-use": "although it has been given its credential",
  "proven": "although it has been given its credential",
};

/**
 * Reads of a mount that fail although it has what there is.
 *
 * @param unseenPulls Why the credential that the mount needs may be in a pull that was not seen.
 */
export function readFinding(
  { id }: DaemonStatus,
  { snapshotId, image, delivery, readsFailingSinceMs: sinceMs }: InstanceStatus,
  nowMs: number,
  unseenPulls?: Finding,
): Finding | undefined {
  if (sinceMs === undefined) return undefined;
  const lastMs = Math.max(0, nowMs - sinceMs);
  const although = REASONS[delivery] ?? "and it has not been given its credential yet";
  const text = `reads of mount ${snapshotId} of nydusd ${id}` +
    `${image === undefined ? "" : ` (${image})`} fail for ${
      formatDuration(lastMs)
    }, ${although}: ` +
    "its registry refuses them, or cannot be reached";
  return {
    area: "reads",
    level: lastMs >= READS_LAST_MS ? "critical" : "warning",
    key: `reads ${id}/${snapshotId}`,
    ...(image !== undefined && { image }),
    text,
    reportedSinceMs: true,
    remedy:
      "look for 401, 403 or a network error in that nydusd's log; see docs/troubleshooting.md" +
      (unseenPulls === undefined ? "" : `. CRI pulls are not seen: ${unseenPulls.remedy}`),
  };
}
