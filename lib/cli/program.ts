import { Command, CommanderError } from "commander";
import { CREDENTIAL_HELPER, PROGRAM } from "../assets/mod.ts";
import {
  AgentError,
  alignColumns,
  ConfigError,
  CREDENTIAL_PROVIDER,
  EXIT,
  formatProblem,
  messageOf,
} from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { type CommandDefinition, COMMANDS, HIDDEN_COMMANDS, versionLine } from "./commands.ts";
import { settingOptions } from "./options.ts";

const DESCRIPTION = "Renews the registry credentials of lazily pulled (nydus) images.";
const MAX_HELP_COLUMNS = 99;

/** Error codes that are mistakes of the user. */
const USAGE_ERRORS = ["usage", "invalid-reference", "invalid-duration", "invalid-config"];

/** Runs the command in the arguments, and returns the exit code. Rejects only on a defect. */
export async function runProgram(context: Context): Promise<number> {
  const { host } = context;
  // Docker's tools run the program by this name, and expect their protocol.
  if (host.calledAs === CREDENTIAL_HELPER) {
    const { dockerCredential } = await import("./docker_credential.ts");
    return await dockerCredential(context, host.args);
  }
  if (host.calledAs === CREDENTIAL_PROVIDER) {
    const { credentialProvider } = await import("./credential_provider.ts");
    return await credentialProvider(context, host.args);
  }
  let exitCode: number = EXIT.ok;
  const program = commands(context, (code) => exitCode = code);
  try {
    await program.parseAsync(commandFirst(program, host.args), { from: "user" });
    return exitCode;
  } catch (error) {
    return reportError(context, error);
  }
}

function reportError({ host }: Context, error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.badConfig;
  if (error instanceof ConfigError) {
    for (const problem of error.problems) host.err(`error: ${formatProblem(problem)}\n`);
    return EXIT.badConfig;
  }
  host.err(`error: ${messageOf(error)}\n`);
  const isUsage = error instanceof AgentError && USAGE_ERRORS.includes(error.code);
  return isUsage ? EXIT.badConfig : EXIT.failed;
}

/** Moves the options before the command behind it: both orders are accepted. */
function commandFirst({ commands }: Command, args: readonly string[]): string[] {
  const withValue = commands.flatMap(({ options }) => options)
    .flatMap(({ required, long, short }) => required ? [long, short] : []);
  let at = 0;
  while (args[at]?.startsWith("-")) at += withValue.includes(args[at]) ? 2 : 1;
  return [...args.slice(at, at + 1), ...args.slice(0, at), ...args.slice(at + 1)];
}

/** Defines the command line. `done` receives the exit code of the command. */
export function commands(context: Context, done: (code: number) => void): Command {
  const { host } = context;
  const columns = host.stdoutIsTerminal ? host.terminalSize().columns : MAX_HELP_COLUMNS;
  const width = () => Math.min(columns, MAX_HELP_COLUMNS);
  const program = new Command(PROGRAM)
    .description(DESCRIPTION)
    .version(versionLine(context), "-V, --version", "print the version")
    .helpOption("-h, --help", "print the help")
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => host.out(text),
      writeErr: (text) => host.err(text),
      getOutHelpWidth: width,
      getErrHelpWidth: width,
    })
    .showHelpAfterError(`run ${PROGRAM} --help for usage`)
    .addHelpText("after", `\nExample:\n  ${PROGRAM} check --help`);
  const add = (definition: CommandDefinition, hidden: boolean) => {
    const { name, description, args = [], options = [], settings = [], run } = definition;
    const command = program.command(name, { hidden }).copyInheritedSettings(program)
      .description(description);
    args.forEach((argument) => command.addArgument(argument));
    if (hidden) command.helpOption(false).allowUnknownOption();
    else {
      command.helpOption("-h, --help", "print the help")
        .option("--no-color", "print without colors")
        .showHelpAfterError(`run ${PROGRAM} ${name} --help for usage`)
        .addHelpText("after", helpText(definition));
    }
    for (const option of [...options, ...settingOptions(settings)]) command.addOption(option);
    command.action(async () => {
      const [args, options] = [command.processedArgs, command.opts()];
      done(await run({ context, program, flags: options, args, options }));
    });
  };
  COMMANDS.forEach((definition) => add(definition, false));
  HIDDEN_COMMANDS.forEach((definition) => add(definition, true));
  return program;
}

function helpText({ examples, exitCodes = {} }: CommandDefinition): string {
  if (examples === undefined) return "";
  const codes = Object.entries(exitCodes).map(([code, meaning]) => ["", code, meaning]);
  const lines = examples.map((example) => `  ${PROGRAM} ${example}\n`);
  return `\nExamples:\n${lines.join("")}\nExit codes:\n${alignColumns(codes).trimEnd()}`;
}
