import type { Argument, Command, Option } from "commander";
import { manualTemplate } from "../assets/mod.ts";
import { CONFIG_FLAGS } from "./settings.ts";

const SETTINGS = new Set(["--config", ...CONFIG_FLAGS.map(({ name }) => `--${dashed(name)}`)]);

/** Returns the manual page in roff; commands and options come from their definitions. */
export function manualPage(program: Command): string {
  const commands = program.createHelp().visibleCommands(program);
  const settings = new Map(
    commands.flatMap(({ options }) => options)
      .filter(({ long }) => SETTINGS.has(long ?? ""))
      .map((option) => [option.long, option]),
  );
  const generated = [
    ".SH COMMANDS",
    ...commands.map(commandSection),
    ".SH SETTINGS",
    "Options of the commands that read the configuration. Each is also a configuration key.",
    ...[...settings.values()].map(optionEntry),
  ];
  return manualTemplate().replace("@COMMANDS@", () => generated.join("\n"));
}

function commandSection(command: Command): string {
  const own = command.options.filter(({ long }) => !SETTINGS.has(long ?? ""));
  const usage = [command.name(), ...command.registeredArguments.map(usageOf)].join(" ");
  return [`.SS ${roff(usage)}`, roff(command.description()), ...own.map(optionEntry)].join("\n");
}

function usageOf(argument: Argument): string {
  const name = argument.name().toUpperCase() + (argument.variadic ? "..." : "");
  return argument.required ? name : `[${name}]`;
}

function optionEntry({ flags, description }: Option): string {
  return `.TP\n.B ${roff(flags)}\n${roff(description)}`;
}

/** A dash of an option is a minus; a line that begins with a dot would be a request. */
function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^[.']/gm, "\\&$&");
}

function dashed(flag: string): string {
  return flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
