/**
 * Configuration: flags, environment, our file and the snapshotter's own become one frozen
 * `AgentConfig`. It is a room of its own so that `check`, `run` and a reload share every rule, and
 * so that whoever gets a configuration need not check it again.
 *
 * Four steps, each stronger than the one before: `load` (text to tables), `validate` and
 * `snapshotter` (tables to checked values), `normalize` (defaults, units, rules across keys), and
 * the freeze. All of them collect problems; nobody stops at the first.
 *
 * @module
 */
export * from "./agent_config.ts";
export { configDifferences } from "./differences.ts";
export type { ConfigKey } from "./key.ts";
export { describeType, flagName, type KeyType, tomlLiteral } from "./key_types.ts";
export { CONFIG_KEYS } from "./keys.ts";
export { CONFIG_ENVIRONMENT_NAME, DEFAULT_CONFIG_PATH } from "./layers.ts";
export { loadAgentConfig, type LoadAgentConfigOptions } from "./load_agent_config.ts";
export { type ConfigSources, type Flags, loadClientConfig, loadConfig } from "./load_config.ts";
export { SNAPSHOTTER_KEY_PATHS } from "./snapshotter.ts";
