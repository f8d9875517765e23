import { Argument, Command, CommanderError, Option } from "commander";
import { BUILD_INFO } from "../assets/mod.ts";
import { AgentError, ConfigError, EXIT, formatProblem, messageOf } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { CREDENTIAL_HELPER } from "./installation.ts";
import { addSettings, configFlags } from "./settings.ts";

const DESCRIPTION = "Renews the registry credentials of lazily pulled (nydus) images.";
const LOG_LEVELS = ["debug", "info", "warning", "error"];

/** Exit codes of commands that have more than success and failure. */
const EXIT_CODES: Readonly<Record<string, string>> = {
  get: "0 printed, 1 no credential, 2 invalid configuration or usage",
  explain: "0 a credential was found, 1 none was found, 2 invalid configuration or usage",
  check: "0 the agent can work, 2 a problem keeps it from working; with --probe 1 when the " +
    "registry serves the image for none of the credentials",
  status: "0 ok, 3 warning, 4 critical (reads fail or are about to), 1 no agent answers, " +
    "2 invalid configuration or usage",
  renew: "0 success, 1 failed for an image or no agent answers, 2 invalid usage",
};

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
  let exitCode: number = EXIT.ok;
  const program = commands(context, (code) => exitCode = code);
  try {
    await program.parseAsync([...host.args], { from: "user" });
    return exitCode;
  } catch (error) {
    return reportError(context, error);
  }
}

function reportError({ host }: Context, error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.badConfig;
  if (error instanceof ConfigError) {
    for (const problem of error.problems) host.err(`${formatProblem(problem)}\n`);
    return EXIT.badConfig;
  }
  host.err(`nydus-auth-agent: ${messageOf(error)}\n`);
  const isUsage = error instanceof AgentError && USAGE_ERRORS.includes(error.code);
  return isUsage ? EXIT.badConfig : EXIT.failed;
}

/** Defines every command with its arguments and options. `done` receives the exit code. */
export function commands(context: Context, done: (code: number) => void): Command {
  const { host } = context;
  const program = new Command("nydus-auth-agent")
    .description(DESCRIPTION)
    .version(versionLine(context), "-V, --version", "print the version")
    .exitOverride()
    .configureOutput({ writeOut: (text) => host.out(text), writeErr: (text) => host.err(text) })
    .showHelpAfterError("(run with --help for usage)");
  const add: Add = (text, options = {}) => {
    const command = program.command(text, options).exitOverride().copyInheritedSettings(program);
    const codes = EXIT_CODES[command.name()];
    return codes === undefined ? command : command.addHelpText("after", `\nExit codes: ${codes}.`);
  };
  const addConfigured: Add = (text) => {
    const command = add(text);
    configured.push(command);
    return command;
  };
  const configured: Command[] = [];
  const actions = { context, add, addConfigured, done };
  addQueryCommands(actions);
  addControlCommands(actions);
  addInstallCommands(actions);
  addOtherCommands(actions);
  configured.forEach(addSettings); // last, below the commands' own options
  return program;
}

type Add = (text: string, options?: { readonly hidden?: boolean }) => Command;

interface Definitions {
  readonly context: Context;
  readonly add: Add;
  /** Adds a command with the options for configuration keys. */
  readonly addConfigured: Add;
  readonly done: (code: number) => void;
}

const outputOption = () =>
  new Option("--output <format>", "output format").choices(["text", "json"]).default("text");

/** Appends the value of a repeatable option. */
function append(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

function addQueryCommands({ context, addConfigured, done }: Definitions): void {
  addConfigured("run").description("Run the agent in the foreground.")
    .action(async (options) => {
      const { run } = await import("../agent/mod.ts");
      done(await run(context, configFlags(options)));
    });
  const lookup = (text: string) =>
    addConfigured(text).argument("<ref>", "image reference")
      .option("--valid-for <duration>", "minimum remaining validity, such as 4h")
      .option("--label <key=value>", "label of the snapshot; repeatable", append)
      .addOption(outputOption());
  lookup("get").description("Print the credential for an image.")
    .action(async (ref, { label: labels = [], ...options }) => {
      const { get } = await import("./get.ts");
      const { validFor, output } = options;
      done(await get(context, configFlags(options), { ref, labels, validFor, output }));
    });
  lookup("explain").description("Explain which provider has a credential for an image, and why.")
    .action(async (ref, { label: labels = [], ...options }) => {
      const { explain } = await import("./explain.ts");
      const { validFor, output } = options;
      done(await explain(context, configFlags(options), { ref, labels, validFor, output }));
    });
  addConfigured("check").argument("[refs...]", "images to query every provider for")
    .description("Check the configuration, the host and the node for problems.")
    .option("--probe <ref>", "probe the registry of this image with each credential for it")
    .action(async (refs, options) => {
      const { check } = await import("./check.ts");
      done(await check(context, configFlags(options), { refs, probe: options.probe }));
    });
  addConfigured("status").addOption(outputOption())
    .description("Show the status of the running agent.")
    .option("--watch", "refresh every 2 seconds")
    .action(async (options) => {
      const { status } = await import("./status.ts");
      const { output, watch = false } = options;
      done(await status(context, configFlags(options), { output, watch }));
    });
}

function addControlCommands({ context, addConfigured, done }: Definitions): void {
  addConfigured("renew").argument("[ref]", "image reference")
    .description("Renew the credential of an image now, bypassing caches and backoffs.")
    .option("--all", "renew every mounted image").addOption(outputOption())
    .action(async (ref, options) => {
      const { renew } = await import("./agent_control.ts");
      const { all = false, output } = options;
      const only = ref !== undefined && { ref };
      done(await renew(context, configFlags(options), { all, output, ...only }));
    });
  addConfigured("log-level")
    .addArgument(new Argument("<action>", "get or set").choices(["get", "set"]))
    .addArgument(new Argument("[level]", "log level").choices(LOG_LEVELS))
    .description("Print or change the log level of the running agent.")
    .action(async (action, level, options) => {
      const { logLevel } = await import("./agent_control.ts");
      done(await logLevel(context, configFlags(options), action, level));
    });
  addConfigured("cri-proxy")
    .addArgument(new Argument("<action>", "on, off or status").choices(["on", "off", "status"]))
    .description("Route image pulls through the CRI proxy or past it, or show where they go.")
    .action(async (action, options) => {
      const { criProxy } = await import("./cri_proxy.ts");
      done(await criProxy(context, configFlags(options), action));
    });
}

function addInstallCommands({ context, add, done }: Definitions): void {
  const installer = (text: string) =>
    add(text)
      .option("--prefix <folder>", "folder that contains bin", "/usr/local")
      .option("--root <folder>", "root folder, for building images", "")
      .option("--dry-run", "only print the steps");
  installer("install").description("Install the binary, its unit and a configuration on this host.")
    .option("--docker-credential-helper", "also install the docker credential helper")
    .option("--now", "also enable and start the service")
    .action(async (options) => {
      const { installCommand } = await import("./install.ts");
      const defaults = { dryRun: false, dockerCredentialHelper: false, now: false };
      done(await installCommand(context, { ...defaults, ...options }));
    });
  installer("uninstall").description("Stop the service and remove what `install` created.")
    .option("--purge", "also remove the configuration")
    .action(async (options) => {
      const { uninstallCommand } = await import("./uninstall.ts");
      const defaults = { dryRun: false, purge: false };
      done(await uninstallCommand(context, { ...defaults, ...options }));
    });
}

function addOtherCommands({ context, add, done }: Definitions): void {
  // The protocol defines the answer to an unknown action, so there are no choices.
  add("docker-credential").argument("<action>", "get, list, store, erase or version")
    .description("Run as a docker credential helper; reads its input from stdin.")
    .action(async (action) => {
      const { dockerCredential } = await import("./docker_credential.ts");
      done(await dockerCredential(context, [action]));
    });
  add("show").argument("[name]", "name of the text; without it, lists the names")
    .description(
      "Print a file from the program: units, sample configurations, alert rules, man page.",
    )
    .action(async (name, _options, command: Command) => {
      const { show } = await import("./show.ts");
      const program = command.parent ?? command;
      done(show(name, program, { out: context.host.out, err: context.host.err }));
    });
  add("version").description("Print the version and the build.")
    .addOption(outputOption())
    .action(({ output }) => {
      const json = JSON.stringify(buildOf(context));
      context.host.out(`${output === "json" ? json : versionLine(context)}\n`);
      done(EXIT.ok);
    });
  add("demo").description("Demonstrate the renewal on a simulated node, in about 20 seconds.")
    .addOption(outputOption())
    .action(async ({ output }) => {
      const { demo } = await import("../simulator/mod.ts");
      done(await demo(context, { output }));
    });
  add("simnode-daemon", { hidden: true }).description("A nydusd of the simulated node.")
    .allowUnknownOption().allowExcessArguments().argument("[args...]")
    .helpOption(false)
    .action(async (args: string[]) => {
      const { runSimDaemon } = await import("../simulator/mod.ts");
      done(await runSimDaemon(args));
    });
}

function buildOf({ host }: Context) {
  const { version, commit, denoVersion } = BUILD_INFO;
  return { version, commit, denoVersion: denoVersion || host.denoVersion };
}

function versionLine(context: Context): string {
  const { version, commit, denoVersion } = buildOf(context);
  return `nydus-auth-agent ${version} (commit ${commit}, deno ${denoVersion})`;
}
