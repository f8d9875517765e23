/**
 * Configuration: merges flags, environment, configuration file and the snapshotter's configuration
 * file into one frozen `AgentConfig`. `run`, `check` and a reload share it.
 *
 * Three steps: `toml` parses the files, `validate`, `snapshotter` and `layers` validate each value,
 * and `normalize` adds defaults and validates rules across keys. Each step collects all problems.
 *
 * @module
 */
export type { AgentConfig } from "./agent_config.ts";
export { configDifferences } from "./differences.ts";
export { type ConfigKey, describeType, flagName, type KeyType, tomlLiteral } from "./key.ts";
export { CONFIG_KEYS } from "./keys.ts";
export { CONFIG_ENVIRONMENT_NAME } from "./layers.ts";
export { type Flags, loadAgentConfig, loadClientConfig, loadConfig } from "./load_config.ts";
export { SNAPSHOTTER_KEY_PATHS } from "./snapshotter.ts";
