import { Argument, Command, CommanderError, Option } from "commander";
import { BUILD_INFO, CREDENTIAL_HELPER, PROGRAM } from "../assets/mod.ts";
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
import { completionsOf } from "./completions.ts";
import { type OutputFormat, printJson, styleOf } from "./output.ts";
import { addSettings, configFlags } from "./settings.ts";
import { show, texts } from "./show.ts";

const DESCRIPTION = "Renews the registry credentials of lazily pulled (nydus) images.";
const LOG_LEVELS = ["debug", "info", "warning", "error"];
const MAX_HELP_COLUMNS = 99;

/** What the help of a command shows after its options. */
interface CommandHelp {
  /** Arguments of the program. */
  readonly examples: readonly string[];
  readonly exitCodes: Readonly<Record<number, string>>;
}

const INVALID = "invalid configuration or usage";
const IMAGE = "registry.example.com/app/web:v1";

const HELP: Readonly<Record<string, CommandHelp>> = {
  "run": {
    examples: ["run", "run --config ./agent.toml --log-level debug"],
    exitCodes: { 0: "stopped by a signal", 1: "failed", 2: INVALID },
  },
  "get": {
    examples: [`get ${IMAGE}`, `get ${IMAGE} --valid-for 4h -o json`],
    exitCodes: { 0: "printed", 1: "no credential", 2: INVALID },
  },
  "explain": {
    examples: [`explain ${IMAGE}`, `explain ${IMAGE} -o json`],
    exitCodes: { 0: "a credential was found", 1: "none was found", 2: INVALID },
  },
  "check": {
    examples: ["check", `check --probe ${IMAGE}`, "check -o json"],
    exitCodes: { 0: "the agent can work", 2: "a problem keeps it from working" },
  },
  "status": {
    examples: ["status", "status --brief", "status --wait --timeout 30s"],
    exitCodes: {
      0: "ok",
      1: "no agent answers, or it is not ready in time",
      2: INVALID,
      3: "warning",
      4: "critical: reads fail or are about to",
    },
  },
  "renew": {
    examples: [`renew ${IMAGE}`, "renew --all"],
    exitCodes: { 0: "success", 1: "failed for an image, or no agent answers", 2: INVALID },
  },
  "log-level": {
    examples: ["log-level get", "log-level set debug"],
    exitCodes: { 0: "success", 1: "no agent answers", 2: INVALID },
  },
  "cri-proxy": {
    examples: ["cri-proxy status", "cri-proxy off"],
    exitCodes: { 0: "success", 1: "pulls do not go where configured, or failed", 2: INVALID },
  },
  "support-bundle": {
    examples: ["support-bundle", "support-bundle /tmp/report.tar"],
    exitCodes: { 0: "written", 1: "failed", 2: INVALID },
  },
  "install": {
    examples: ["install --now", "install --root /mnt/image --dry-run"],
    exitCodes: { 0: "success", 1: "failed", 2: "invalid usage" },
  },
  "uninstall": {
    examples: ["uninstall", "uninstall --purge"],
    exitCodes: { 0: "success", 1: "failed", 2: "invalid usage" },
  },
  "docker-credential": {
    examples: ["docker-credential get <<< registry.example.com"],
    exitCodes: { 0: "success", 1: "no credential, or failed" },
  },
  "credential-provider": {
    examples: ["credential-provider -- /opt/plugins/ecr-credential-provider"],
    exitCodes: { 0: "success", 1: "failed" },
  },
  "show": {
    examples: ["show", "show config.toml"],
    exitCodes: { 0: "printed", 2: "no such text" },
  },
  "version": { examples: ["version -o json"], exitCodes: { 0: "printed" } },
  "demo": {
    examples: ["demo"],
    exitCodes: { 0: "no read failed with the agent", 1: "a read failed, or interrupted" },
  },
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

/** Defines every command with its arguments and options. `done` receives the exit code. */
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
  const add: Add = (text, options = {}) => {
    const command = program.command(text, options).exitOverride().copyInheritedSettings(program)
      .helpOption("-h, --help", "print the help")
      .option("--no-color", "print without colors");
    command.showHelpAfterError(`run ${PROGRAM} ${command.name()} --help for usage`);
    const help = HELP[command.name()];
    return help === undefined ? command : command.addHelpText("after", helpText(help));
  };
  const definitions = { context, add, done };
  addQueryCommands(definitions);
  addControlCommands(definitions);
  addSupportCommand(definitions);
  addInstallCommands(definitions);
  addOtherCommands(definitions, program);
  addSettings(program.commands); // last, below the commands' own options
  return program;
}

function helpText({ examples, exitCodes }: CommandHelp): string {
  const codes = Object.entries(exitCodes).map(([code, meaning]) => ["", code, meaning]);
  const lines = examples.map((example) => `  ${PROGRAM} ${example}\n`);
  return `\nExamples:\n${lines.join("")}\nExit codes:\n${alignColumns(codes).trimEnd()}`;
}

type Add = (text: string, options?: { readonly hidden?: boolean }) => Command;

interface Definitions {
  readonly context: Context;
  readonly add: Add;
  readonly done: (code: number) => void;
}

const outputOption = () =>
  new Option("-o, --output <format>", "output format").choices(["text", "json"]).default("text");

/** Appends the value of a repeatable option. */
function append(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

function addQueryCommands({ context, add, done }: Definitions): void {
  add("run").description("Run the agent in the foreground.")
    .action(async (options) => {
      const { run } = await import("../agent/mod.ts");
      done(await run(context, configFlags(options)));
    });
  const lookup = (text: string) =>
    add(text).argument("<ref>", "image reference")
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
  add("check").argument("[refs...]", "images to query every provider for")
    .description("Check the configuration, the host and the node for problems.")
    .option("--probe", "also probe the registry of each image with each credential for it")
    .addOption(outputOption())
    .action(async (refs, options) => {
      const { check } = await import("./check.ts");
      const { probe = false, output } = options;
      done(await check(context, configFlags(options), { refs, probe, output }));
    });
  add("status").addOption(outputOption())
    .description("Show the status of the running agent.")
    .option("--brief", "print only the summary")
    .option("--wait", "wait until the agent is ready")
    .option("--timeout <duration>", "limit of --wait", "2m")
    .action(async (options) => {
      const { status } = await import("./status.ts");
      const { output, brief = false, wait = false, timeout } = options;
      done(await status(context, configFlags(options), { output, brief, wait, timeout }));
    });
}

function addControlCommands({ context, add, done }: Definitions): void {
  add("renew").argument("[ref]", "image reference")
    .description("Renew the credential of an image now, bypassing caches and backoffs.")
    .option("--all", "renew every mounted image").addOption(outputOption())
    .action(async (ref, options) => {
      const { renew } = await import("./agent_control.ts");
      const { all = false, output } = options;
      done(await renew(context, configFlags(options), { ref, all, output }));
    });
  add("log-level")
    .addArgument(new Argument("<action>", "get or set").choices(["get", "set"]))
    .addArgument(new Argument("[level]", "log level").choices(LOG_LEVELS))
    .description("Print or change the log level of the running agent.")
    .addOption(outputOption())
    .action(async (action, level, options) => {
      const { logLevel } = await import("./agent_control.ts");
      const { output } = options;
      done(await logLevel(context, configFlags(options), { action, level, output }));
    });
  add("cri-proxy")
    .addArgument(new Argument("<action>", "on, off or status").choices(["on", "off", "status"]))
    .description("Route image pulls through the CRI proxy or past it, or show where they go.")
    .addOption(outputOption())
    .action(async (action, options) => {
      const { criProxy } = await import("./cri_proxy.ts");
      done(await criProxy(context, configFlags(options), action, options.output));
    });
}

function addSupportCommand({ context, add, done }: Definitions): void {
  add("support-bundle").argument("[file]", "tar archive to write; by default in this folder")
    .description("Collect version, configuration, status, metrics, log and checks for a report.")
    .action(async (file, options) => {
      const { supportBundle } = await import("./support_bundle.ts");
      done(await supportBundle(context, configFlags(options), file));
    });
}

function addInstallCommands({ context, add, done }: Definitions): void {
  const installer = (text: string) =>
    add(text)
      .option("--prefix <folder>", "folder that contains bin", "/usr/local")
      .option("--root <folder>", "root folder, for building images", "")
      .option(
        "--image-credential-provider-config <path>",
        "as of the kubelet, else of a running one",
      )
      .option("--image-credential-provider-bin-dir <folder>", "as of the kubelet, likewise")
      .option("--dry-run", "only print the steps");
  installer("install").description("Install the binary, its unit and a configuration on this host.")
    .option("--docker-credential-helper", "also install the docker credential helper")
    .option("--kubelet-plugin [name]", "also answer the kubelet in place of this plugin")
    .addOption(new Option("--now", "also enable and restart the service").conflicts("root"))
    .action(async (options, command: Command) => {
      const { install } = await import("./install.ts");
      const { texts } = await import("./show.ts");
      const known = texts(command.parent ?? command);
      const defaults = { dryRun: false, dockerCredentialHelper: false, now: false };
      const textOf = (name: string) => known.get(name)?.text() ?? "";
      done(await install(context, { ...defaults, ...options }, textOf));
    });
  installer("uninstall").description("Stop the service and remove what `install` created.")
    .option("--purge", "also remove the configuration")
    .action(async (options) => {
      const { uninstall } = await import("./install.ts");
      const defaults = { dryRun: false, purge: false };
      done(await uninstall(context, { ...defaults, ...options }));
    });
}

function addOtherCommands({ context, add, done }: Definitions, program: Command): void {
  // The protocol defines the answer to an unknown action, so there are no choices.
  add("docker-credential").argument("<action>", "get, list, store, erase or version")
    .description("Run as a docker credential helper; reads its input from stdin.")
    .action(async (action) => {
      const { dockerCredential } = await import("./docker_credential.ts");
      done(await dockerCredential(context, [action]));
    });
  add("credential-provider").argument("[plugin...]", "the cloud's plugin and its arguments")
    .description("Run as a credential provider plugin of the kubelet; reads a request from stdin.")
    .action(async (plugin) => {
      const { credentialProvider } = await import("./credential_provider.ts");
      done(await credentialProvider(context, plugin));
    });
  add("show").argument("[name]", "name of the text; without it, lists the names")
    .description(
      "Print a file from the program: units, sample configurations, alert rules, man page.",
    )
    .action((name) => done(show(context, program, name)));
  add("version").description("Print the version and the build.")
    .addOption(outputOption())
    .action(({ output }: { readonly output: OutputFormat }) => {
      if (output === "json") printJson(context, buildOf(context));
      else context.host.out(`${versionLine(context)}\n`);
      done(EXIT.ok);
    });
  add("demo").description("Demonstrate the renewal on a simulated node, in about 20 seconds.")
    .addOption(outputOption())
    .action(async ({ output }) => {
      const { demo } = await import("../simulator/mod.ts");
      done(await demo(context, { output, ...styleOf(context) }));
    });
  add("help").argument("[command]").description("Print the help of a command.")
    .action((name) => {
      const command = name === undefined
        ? program
        : program.commands.find((command) => command.name() === name);
      if (command === undefined) program.error(`error: unknown command '${name}'`);
      command.help();
    });
  add("complete", { hidden: true }).argument("[words...]").helpOption(false)
    .description("Print completions of the last word, for a shell.")
    .action((words: string[]) => {
      const names = [...texts(program).keys()];
      context.host.out(completionsOf(program, words, names).map((word) => `${word}\n`).join(""));
      done(EXIT.ok);
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
  return `${PROGRAM} ${version} (commit ${commit}, deno ${denoVersion})`;
}
