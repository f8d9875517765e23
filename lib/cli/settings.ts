import { Option } from "commander";
import { CONFIG_KEYS, flagName, type Flags } from "../config/mod.ts";

const HELP_GROUP = "Settings (also keys of the configuration file):";

/** Options for configuration keys, by their names in camel case. */
const SETTINGS: ReadonlyMap<string, Option> = new Map([
  [
    "config",
    new Option(
      "--config <file>",
      "configuration file (default /etc/nydus-auth-agent/config.toml)",
    ),
  ],
  ...CONFIG_KEYS.flatMap(({ flag, description, path, type, ...key }): [string, Option][] => {
    if (flag === undefined) return [];
    const isFixed = key.default !== undefined && key.snapshotter === undefined;
    const byDefault = isFixed ? `, default ${key.default}` : "";
    const help = `${description} (${path}${byDefault})`;
    return [[flag, new Option(`${flagName(flag)} <${type.name}>`, help).helpGroup(HELP_GROUP)]];
  }),
]);

/** Returns the options for these configuration keys. */
export function settingOptions(names: "all" | readonly string[]): Option[] {
  return [...SETTINGS].flatMap(([name, option]) =>
    names === "all" || names.includes(name) ? [option] : []
  );
}

/** Returns whether an option stands for a configuration key. */
export function isSetting(option: Option): boolean {
  return settingOptions("all").includes(option);
}

/** Returns the values of the options for configuration keys. */
export function configFlags(options: Readonly<Record<string, unknown>>): Flags {
  return Object.fromEntries([...SETTINGS.keys()].flatMap((name) => {
    const value = options[name];
    return typeof value === "string" ? [[name, value]] : [];
  }));
}
