import { type Command, Option, type OptionValues } from "commander";
import { CONFIG_KEYS, flagName, type Flags } from "../config/mod.ts";
import type { HealthLevel } from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";

/** A call of a command. */
export interface CommandCall<Options = OptionValues> {
  readonly context: Context;
  /** The definitions of all commands. */
  readonly program: Command;
  /** Options that stand for configuration keys. */
  readonly flags: Flags;
  readonly args: Command["processedArgs"];
  readonly options: Options;
}

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
export function configFlags(options: OptionValues): Flags {
  return Object.fromEntries([...SETTINGS.keys()].flatMap((name) => {
    const value = options[name];
    return typeof value === "string" ? [[name, value]] : [];
  }));
}

/** Format of what a command prints. */
export type OutputFormat = "text" | "json";

/** Prints a value as JSON. */
export function printJson({ host }: Context, value: unknown): void {
  host.out(`${JSON.stringify(value, null, 2)}\n`);
}

/** Style of a text for the screen. */
export interface TextStyle {
  readonly color: boolean;
}

/** Returns whether to print colors: in a terminal, unless `--no-color` or `NO_COLOR` is set. */
export function styleOf({ host }: Context): TextStyle {
  const isOff = host.args.includes("--no-color") || Boolean(host.env["NO_COLOR"]);
  return { color: host.stdoutIsTerminal && !isOff };
}

const COLORS: Readonly<Record<HealthLevel, number>> = { ok: 32, warning: 33, critical: 31 };

/** Colors a text by a health level, if colors are enabled. */
export function colored(level: HealthLevel, text: string, { color }: TextStyle): string {
  return color ? `\x1b[${COLORS[level]}m${text}\x1b[0m` : text;
}
