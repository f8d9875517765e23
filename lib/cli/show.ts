import type { Argument, Command, Option } from "commander";
import { ASSETS, MANUAL_TEMPLATE } from "../assets/mod.ts";
import { AgentError, alignColumns, EXIT } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { COMPLETION_SCRIPTS } from "./completions.ts";
import { isSetting } from "./options.ts";

/** Returns every text that the program contains, by name: assets and generated texts. */
export function texts(program: Command) {
  const scripts = Object.entries(COMPLETION_SCRIPTS).map(([shell, text]) =>
    [`completion.${shell}`, { description: `completions for ${shell}`, text }] as const
  );
  return new Map<string, { readonly description: string; readonly text: string }>([
    ...Object.entries(ASSETS),
    ["nydus-auth-agent.1", { description: "man page", text: manualPage(program) }],
    ...scripts,
  ]);
}

/**
 * `show [NAME]`: prints a text that the program contains, or the list of names.
 *
 * @throws {AgentError} `usage` for an unknown name.
 */
export function show({ host }: Context, program: Command, name: string | undefined): number {
  const known = texts(program);
  const found = known.get(name ?? "");
  if (name !== undefined && found === undefined) {
    throw new AgentError(
      "usage",
      `show ${name}: no such text; run \`nydus-auth-agent show\` for the list`,
    );
  }
  const list = () => alignColumns([...known].map(([name, { description }]) => [name, description]));
  host.out(found?.text ?? list());
  return EXIT.ok;
}

/** Returns the manual page in roff; commands and options come from their definitions. */
function manualPage(program: Command): string {
  const commands = program.createHelp().visibleCommands(program);
  const settings = new Map(
    commands.flatMap(({ options }) => options).filter(isSetting)
      .map((option) => [option.long, option]),
  );
  const generated = [
    ".SH COMMANDS",
    ...commands.map(commandSection),
    ".SH SETTINGS",
    "Options of the commands that read the configuration. Each is also a configuration key.",
    ...[...settings.values()].map(optionEntry),
  ];
  return MANUAL_TEMPLATE.replace("@COMMANDS@", () => generated.join("\n"));
}

function commandSection(command: Command): string {
  const own = command.options.filter((option) => !isSetting(option));
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

/** Escapes text for roff: a dash becomes a minus, a leading dot is not a request. */
function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^[.']/gm, "\\&$&");
}
