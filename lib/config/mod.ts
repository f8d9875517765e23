/**
 * Configuration: merges flags, environment, configuration file and the snapshotter's configuration
 * file into one frozen `AgentConfig`. `run`, `check` and a reload share it.
 *
 * `load_config` reads the files, `settings` validates each value by the table in `keys`, and
 * `normalize` adds defaults and validates rules across keys. Each step collects all problems.
 *
 * @module
 */
export {
  CONFIG_ENVIRONMENT_NAME,
  CONFIG_KEYS,
  type ConfigKey,
  flagName,
  tomlLiteral,
} from "./keys.ts";
export { configDifferences, type Flags, loadClientConfig, loadConfig } from "./load_config.ts";
export type { AgentConfig } from "./normalize.ts";
export { SNAPSHOTTER_FILE_KEYS } from "./settings.ts";
