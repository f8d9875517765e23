import { type Command, Option, type OptionValues } from "commander";
import { CONFIG_KEYS, flagName, type Flags } from "../config/mod.ts";
import type { HealthLevel } from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";

/** A call of a command. */
export interface CommandCall<Options = OptionValues> {
  readonly context: Context;
  /** The definitions of all commands. */
  readonly program: Command;
  /** The options as the configuration reads them: it ignores those that are not its keys. */
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

/** Format of what a command prints. */
export type OutputFormat = "text" | "json";

/** Prints a value as JSON. */
export function printJson({ host }: Context, value: unknown): void {
  host.out(`${JSON.stringify(value, null, 2)}\n`);
}

/** Returns whether to print colors: in a terminal, unless `--no-color` or `NO_COLOR` is set. */
export function usesColor({ host }: Context): boolean {
  const isOff = host.args.includes("--no-color") || Boolean(host.env["NO_COLOR"]);
  return host.stdoutIsTerminal && !isOff;
}

const COLORS: Readonly<Record<HealthLevel, number>> = { ok: 32, warning: 33, critical: 31 };

/** Returns the word of a health level, in its color if colors are enabled. */
export function levelText(context: Context, level: HealthLevel): string {
  return usesColor(context) ? `\x1b[${COLORS[level]}m${level}\x1b[0m` : level;
}
