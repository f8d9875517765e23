import { Option } from "commander";
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

/** Returns the options for these configuration keys, by their names in camel case. */
export function settingOptions(names: "all" | readonly string[]): Option[] {
  return CONFIG_FLAGS.filter(({ name }) => names === "all" || names.includes(name))
    .map(({ name, long, value, help }) => {
      const option = new Option(`${long} <${value}>`, help);
      return name === "config" ? option : option.helpGroup(HELP_GROUP);
    });
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
