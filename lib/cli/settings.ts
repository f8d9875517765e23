import { type Command, Option } from "commander";
import { CONFIG_KEYS, flagName, type Flags } from "../config/mod.ts";

/** A command-line option for a configuration key. */
interface ConfigFlag {
  /** Name in camel case, as commander returns it. */
  readonly name: string;
  /** Name on the command line, such as `--log-level`. */
  readonly long: string;
  /** Placeholder for the value in help texts. */
  readonly value: string;
  readonly help: string;
}

/** Options for configuration keys, generated from the table of keys. */
const CONFIG_FLAGS: readonly ConfigFlag[] = [
  {
    name: "config",
    long: "--config",
    value: "file",
    help: "configuration file (default /etc/nydus-auth-agent/config.toml)",
  },
  ...CONFIG_KEYS.flatMap(({ flag: name, description, path, type, ...key }): ConfigFlag[] => {
    if (name === undefined) return [];
    const long = flagName(name);
    const isFixed = key.default !== undefined && key.snapshotter === undefined;
    const byDefault = isFixed ? `, default ${key.default}` : "";
    return [{ name, long, value: type.name, help: `${description} (${path}${byDefault})` }];
  }),
];

const HELP_GROUP = "Settings (also keys of the configuration file):";

const CLIENT = ["config", "apiSocket"];
const LOOKUP = [
  ...CLIENT,
  "snapshotterConfig",
  "dockerConfig",
  "credentialProviderConfig",
  "credentialProviderBinDir",
  "kubeconfig",
];
const ALL = CONFIG_FLAGS.map(({ name }) => name);

/** The settings that each command uses. */
const USED: Readonly<Record<string, readonly string[]>> = {
  "run": ALL,
  "check": ALL,
  "get": LOOKUP,
  "explain": LOOKUP,
  "status": [...CLIENT, "address"],
  "renew": CLIENT,
  "log-level": CLIENT,
  "support-bundle": [...CLIENT, "address"],
  "cri-proxy": ["config"],
};

/** Adds the options for configuration keys that commands use, below their own options. */
export function addSettings(commands: readonly Command[]): void {
  for (const command of commands) {
    for (const { name, long, value, help } of CONFIG_FLAGS) {
      if (!USED[command.name()]?.includes(name)) continue;
      const option = new Option(`${long} <${value}>`, help);
      command.addOption(name === "config" ? option : option.helpGroup(HELP_GROUP));
    }
  }
}

/** Returns whether an option stands for a configuration key. */
export function isSetting({ long }: Option): boolean {
  return CONFIG_FLAGS.some((flag) => flag.long === long);
}

/** Returns the values of the options for configuration keys. */
export function configFlags(options: Readonly<Record<string, unknown>>): Flags {
  return Object.fromEntries(CONFIG_FLAGS.flatMap(({ name }) => {
    const value = options[name];
    return typeof value === "string" ? [[name, value]] : [];
  }));
}
