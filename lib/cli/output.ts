import type { HealthLevel } from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";

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
