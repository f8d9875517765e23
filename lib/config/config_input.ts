import type { Settings } from "./settings.ts";
import type { SnapshotterSettings } from "./snapshotter.ts";
import type { DaemonEntry } from "./validate.ts";

/** Everything that was said, each value checked by itself. */
export interface ConfigInput {
  /** Flags, environment and file on top of each other. */
  readonly settings: Settings;
  readonly daemons: readonly DaemonEntry[];
  /** What the snapshotter's own file says; undefined when none was read. */
  readonly snapshotter?: SnapshotterSettings;
}
