import { AGENT_FAULTS } from "./agent_faults.ts";
import { DAEMON_FAULTS, SNAPSHOTTER_FAULTS } from "./daemon_faults.ts";
import type { Fault } from "./fault.ts";
import { FILE_FAULTS } from "./file_faults.ts";
import { PLUGIN_FAULTS } from "./plugin_faults.ts";
import { SECRET_FAULTS } from "./secret_faults.ts";

/** All faults of the campaign. */
export const FAULTS: readonly Fault[] = [
  ...DAEMON_FAULTS,
  ...SNAPSHOTTER_FAULTS,
  ...PLUGIN_FAULTS,
  ...SECRET_FAULTS,
  ...AGENT_FAULTS,
  ...FILE_FAULTS,
];
