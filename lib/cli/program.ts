import { Argument, Command, CommanderError, Option } from "commander";
import { AgentError, ConfigError, formatProblem, messageOf } from "../model/mod.ts";
import { CONFIG_FLAGS } from "./settings.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import type { Flags } from "../config/mod.ts";
import { CREDENTIAL_HELPER } from "./installation.ts";
import { versionLine } from "./version.ts";

const DESCRIPTION = "Keeps the registry credentials of lazily pulled (nydus) images fresh.";

const OUTPUT = () =>
  new Option("--output <format>", "form of the answer").choices(["text", "json"]).default("text");

/** Collects a repeatable option. */
function append(value: string, before: string[] = []): string[] {
  return [...before, value];
}

/** Commander's `--snapshotter-config <value>` for the flag `snapshotterConfig`. */
function dashed(flag: string): string {
  return flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Commands that read the configuration. */
const CONFIGURED = ["run", "get", "explain", "check", "status", "renew", "log-level", "cri-proxy"];
const LOG_LEVELS = ["debug", "info", "warning", "error"];
const SETTINGS = "Settings, each of them also a key of the configuration file:";
/** What stands below the options, of commands whose exit code says more than done or failed. */
const EXIT_CODES: Readonly<Record<string, string>> = {
  get: "0 printed, 1 nobody has a credential, 2 bad configuration or usage",
  explain: "0 a credential was found, 1 none was, 2 bad configuration or usage",
  check: "0 nothing stops the agent, 2 something does; with --probe 1 when the registry would " +
    "serve the image for none of the credentials",
  status: "0 all is well, 3 something wants a look, 4 reads fail or are about to, 1 no agent " +
    "answers, 2 bad configuration or usage",
  renew: "0 every image got an answer, 1 one did not or no agent answers, 2 bad usage",
};

/** Adds the options that stand for configuration keys, below those of the command itself. */
function addSettings(command: Command): void {
  const file = "our configuration file (default /etc/nydus-auth-agent/config.toml)";
  const options = [
    new Option("--config <file>", file),
    ...CONFIG_FLAGS.map(({ name, value, help }) =>
      new Option(`--${dashed(name)} <${value}>`, help).helpGroup(SETTINGS)
    ),
  ];
  for (const option of options) command.addOption(option);
}

/** The values of those options, out of everything that commander parsed. */
function configFlags(options: Readonly<Record<string, unknown>>): Flags {
  const names = ["config", ...CONFIG_FLAGS.map(({ name }) => name)];
  const flags: Record<string, string> = {};
  for (const name of names) {
    const value = options[name];
    if (typeof value === "string") flags[name] = value;
  }
  return flags;
}

/**
 * Runs the command that the arguments name, and returns the exit code: 0 done, 1 failed, 2 bad
 * configuration or usage. Rejects for nothing but a defect.
 */
export async function runProgram(context: Context): Promise<number> {
  const { host } = context;
  // Called by that name, as docker's tools do, the program speaks their protocol.
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
    return report(context, error);
  }
}

function report({ host }: Context, error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.badConfig;
  if (error instanceof ConfigError) {
    for (const problem of error.problems) host.err(`${formatProblem(problem)}\n`);
    return EXIT.badConfig;
  }
  host.err(`nydus-auth-agent: ${messageOf(error)}\n`);
  if (!(error instanceof AgentError)) return EXIT.failed;
  const misuse = ["usage", "invalid-reference", "invalid-duration", "invalid-config"];
  return misuse.includes(error.code) ? EXIT.badConfig : EXIT.failed;
}

/** Every command, its arguments and its options. */
export function commands(context: Context, done: (code: number) => void): Command {
  const { host } = context;
  const program = new Command("nydus-auth-agent")
    .description(DESCRIPTION)
    .version(versionLine(context), "-V, --version", "print the version")
    .exitOverride()
    .configureOutput({ writeOut: (text) => host.out(text), writeErr: (text) => host.err(text) })
    .showHelpAfterError("(--help tells more)");
  const add: Add = (text, options = {}) =>
    program.command(text, options).exitOverride().copyInheritedSettings(program);

  add("run").description("Run the agent until it is told to stop.")
    .action(async (options) => {
      const { run } = await import("../agent/mod.ts");
      done(await run(context, configFlags(options)));
    });
  addQueryCommands(context, add, done);
  addControlCommands(context, add, done);
  addCriProxyCommand(context, add, done);
  addOtherCommands(context, add, done);
  addInstallCommands(context, add, done);
  for (const command of program.commands) {
    if (CONFIGURED.includes(command.name())) addSettings(command);
    const codes = EXIT_CODES[command.name()];
    if (codes !== undefined) command.addHelpText("after", `\nExit code: ${codes}.`);
  }
  return program;
}

type Add = (text: string, options?: { readonly hidden?: boolean }) => Command;

/** Commands that ask for a credential or for how things stand. */
function addQueryCommands(context: Context, add: Add, done: (code: number) => void): void {
  const asking = (text: string) =>
    add(text).argument("<ref>", "image reference")
      .option("--valid-for <duration>", "how long it must live, such as 4h")
      .option("--label <key=value>", "a label of the snapshot; repeatable", append)
      .addOption(OUTPUT());
  asking("get").description("Print the credential for an image.")
    .action(async (ref, options) => {
      const { get } = await import("./get.ts");
      const { label: labels = [], validFor, output } = options;
      done(await get(context, configFlags(options), { ref, labels, validFor, output }));
    });
  asking("explain").description("Tell what every provider answers for an image, and why.")
    .action(async (ref, { label: labels = [], ...options }) => {
      const { explain } = await import("./explain.ts");
      const { validFor, output } = options;
      done(await explain(context, configFlags(options), { ref, labels, validFor, output }));
    });
  add("check").argument("[refs...]", "images to try every source for")
    .description("Read everything that `run` would, and say what is wrong.")
    .option("--probe <ref>", "ask the registry of this image about each credential for it")
    .action(async (refs, options) => {
      const { check } = await import("./check.ts");
      done(await check(context, configFlags(options), { refs, probe: options.probe }));
    });
  add("status").addOption(OUTPUT()).description("Ask the running agent how it stands.")
    .option("--watch", "show it again every 2 seconds")
    .action(async (options) => {
      const { status } = await import("./status.ts");
      const { output, watch = false } = options;
      done(await status(context, configFlags(options), { output, watch }));
    });
}

/** Commands that tell the running agent what to do. */
function addControlCommands(context: Context, add: Add, done: (code: number) => void): void {
  add("renew").argument("[ref]", "image reference")
    .description("Ask the sources of an image, or of all, now: past caches and backoffs.")
    .option("--all", "every image that is mounted").addOption(OUTPUT())
    .action(async (ref, options) => {
      const { renew } = await import("./renew.ts");
      const { all = false, output } = options;
      const only = ref !== undefined && { ref };
      done(await renew(context, configFlags(options), { all, output, ...only }));
    });
  add("log-level").addArgument(new Argument("<action>", "get or set").choices(["get", "set"]))
    .addArgument(new Argument("[level]", "the level").choices(LOG_LEVELS))
    .description("Tell or change the least severe level that the running agent writes.")
    .action(async (action, level, options) => {
      const { logLevel } = await import("./log_level.ts");
      done(await logLevel(context, configFlags(options), action, level));
    });
}

/** The one command that changes where pulls go. */
function addCriProxyCommand(context: Context, add: Add, done: (code: number) => void): void {
  add("cri-proxy").addArgument(new Argument("<action>", "").choices(["on", "off", "status"]))
    .description("Put the CRI proxy into the path of pulls, take it out, or tell where it stands.")
    .action(async (action, options) => {
      const { criProxy } = await import("./cri_proxy_command.ts");
      done(await criProxy(context, configFlags(options), action));
    });
}

/** Commands about the program itself, and the simulated node. */
function addOtherCommands(context: Context, add: Add, done: (code: number) => void): void {
  // Any action is passed on: the protocol has its own answer to one that it does not know.
  add("docker-credential").argument("<action>", "get, list, store, erase or version")
    .description("Answer as a docker credential helper: the registry comes on the standard input.")
    .action(async (action) => {
      const { dockerCredential } = await import("./docker_credential.ts");
      done(await dockerCredential(context, [action]));
    });
  add("version").description("Print the version, and what it was built from.")
    .addOption(OUTPUT())
    .action(async ({ output }) => {
      const { version } = await import("./version.ts");
      done(version(context, output));
    });
  add("demo").description("Show the main job on a simulated node, in about 20 seconds.")
    .addOption(OUTPUT())
    .action(async ({ output }) => {
      const { demo } = await import("./demo_command.ts");
      done(await demo(context, { output }));
    });
  add("simnode-daemon", { hidden: true }).description("One nydusd of the simulated node.")
    .allowUnknownOption().allowExcessArguments().argument("[args...]")
    .helpOption(false)
    .action(async (args: string[]) => {
      const { runSimDaemon } = await import("../simulator/mod.ts");
      done(await runSimDaemon(args));
    });
}

/** Commands that put the program on a host, and what it carries. */
function addInstallCommands(context: Context, add: Add, done: (code: number) => void): void {
  const placed = (text: string) =>
    add(text)
      .option("--prefix <folder>", "folder above bin", "/usr/local")
      .option("--root <folder>", "folder that stands for /, for building images", "")
      .option("--dry-run", "only say what would be done");
  placed("install").description("Install the binary, its unit and a configuration on this host.")
    .option("--docker-credential-helper", "also be found by docker's tools as a helper")
    .option("--now", "enable and start the service too")
    .action(async (options) => {
      const { installCommand } = await import("./install_command.ts");
      const off = { dryRun: false, dockerCredentialHelper: false, now: false };
      done(await installCommand(context, { ...off, ...options }));
    });
  placed("uninstall").description("Stop the service and remove what `install` put there.")
    .option("--purge", "remove the configuration too")
    .action(async (options) => {
      const { uninstallCommand } = await import("./install_command.ts");
      const off = { dryRun: false, purge: false };
      done(await uninstallCommand(context, { ...off, ...options }));
    });
  add("show").argument("[name]", "which text; without it, the list")
    .description("Print a text that the program carries: units, samples, rules, the manual.")
    .action(async (name, _options, command: Command) => {
      const { show } = await import("./show.ts");
      const program = command.parent ?? command;
      done(show(name, program, { out: context.host.out, err: context.host.err }));
    });
}
