import { Argument, Option } from "commander";
import { BUILD_INFO, PROGRAM } from "../assets/mod.ts";
import { EXIT } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { completionsOf } from "./completions.ts";
import type { InstallOptions, UninstallOptions } from "./install.ts";
import { type CommandCall, printJson, usesColor } from "./options.ts";
import { show, texts } from "./show.ts";

/** A command: its definition, its help, and what it runs. */
export interface CommandDefinition {
  readonly name: string;
  readonly description: string;
  readonly args?: readonly Argument[];
  readonly options?: readonly Option[];
  /** The options for configuration keys that it has, by their names in camel case. */
  readonly settings?: "all" | readonly string[];
  /** Arguments of the program. */
  readonly examples?: readonly string[];
  readonly exitCodes?: Readonly<Record<number, string>>;
  /** Returns the exit code. */
  run(call: CommandCall): number | Promise<number>;
}

/** Returns a function that loads the code of a command when it is called. */
function lazy<Options>(
  load: () => Promise<(call: CommandCall<Options>) => Promise<number>>,
): CommandDefinition["run"] {
  return async (call) => await (await load())(call as CommandCall<Options>);
}

const IMAGE = "registry.example.com/app/web:v1";
const INVALID = "invalid configuration or usage";
/** Settings of a command that queries the running agent. */
const CLIENT = ["config", "apiSocket"];

const OUTPUT = new Option("-o, --output <format>", "output format").choices(["text", "json"])
  .default("text");

const LOOKUP = {
  args: [new Argument("<ref>", "image reference")],
  options: [
    new Option("--valid-for <duration>", "minimum remaining validity, such as 4h"),
    new Option("--label <key=value>", "label of the snapshot; repeatable")
      .argParser((value: string, before: string[] = []) => [...before, value]),
    OUTPUT,
  ],
  settings: [
    ...CLIENT,
    "snapshotterConfig",
    "dockerConfig",
    "credentialProviderConfig",
    "credentialProviderBinDir",
    "kubeconfig",
  ],
};

const INSTALLER = {
  options: [
    new Option("--prefix <folder>", "folder that contains bin").default("/usr/local"),
    new Option("--root <folder>", "root folder, for building images").default(""),
    new Option(
      "--image-credential-provider-config <path>",
      "as of the kubelet, else of a running one",
    ),
    new Option("--image-credential-provider-bin-dir <folder>", "as of the kubelet, likewise"),
    new Option("--dry-run", "only print the steps"),
  ],
  exitCodes: { 0: "success", 1: "failed", 2: "invalid usage" },
};

/** Every command, in the order of the help. */
export const COMMANDS: readonly CommandDefinition[] = [
  {
    name: "run",
    description: "Run the agent in the foreground.",
    settings: "all",
    examples: ["run", "run --config ./agent.toml --log-level debug"],
    exitCodes: { 0: "stopped by a signal", 1: "failed", 2: INVALID },
    run: async ({ context, flags }) => (await import("../agent/mod.ts")).run(context, flags),
  },
  {
    ...LOOKUP,
    name: "get",
    description: "Print the credential for an image.",
    examples: [`get ${IMAGE}`, `get ${IMAGE} --valid-for 4h -o json`],
    exitCodes: { 0: "printed", 1: "no credential", 2: INVALID },
    run: lazy(async () => (await import("./get.ts")).get),
  },
  {
    ...LOOKUP,
    name: "explain",
    description: "Explain which provider has a credential for an image, and why.",
    examples: [`explain ${IMAGE}`, `explain ${IMAGE} -o json`],
    exitCodes: { 0: "a credential was found", 1: "none was found", 2: INVALID },
    run: lazy(async () => (await import("./explain.ts")).explain),
  },
  {
    name: "check",
    description: "Check the configuration, the host and the node for problems.",
    args: [new Argument("[refs...]", "images to query every provider for")],
    options: [
      new Option("--probe", "also probe the registry of each image with each credential for it"),
      OUTPUT,
    ],
    settings: "all",
    examples: ["check", `check --probe ${IMAGE}`, "check -o json"],
    exitCodes: { 0: "the agent can work", 2: "a problem keeps it from working" },
    run: lazy(async () => (await import("./check.ts")).check),
  },
  {
    name: "status",
    description: "Show the status of the running agent.",
    options: [
      OUTPUT,
      new Option("--brief", "print only the summary"),
      new Option("--wait", "wait until the agent is ready"),
      new Option("--timeout <duration>", "limit of --wait").default("2m"),
    ],
    settings: [...CLIENT, "address"],
    examples: ["status", "status --brief", "status --wait --timeout 30s"],
    exitCodes: {
      0: "ok",
      1: "no agent answers, or it is not ready in time",
      2: INVALID,
      3: "warning",
      4: "critical: reads fail or are about to",
    },
    run: lazy(async () => (await import("./status.ts")).status),
  },
  {
    name: "renew",
    description: "Renew the credential of an image now, bypassing caches and backoffs.",
    args: [new Argument("[ref]", "image reference")],
    options: [new Option("--all", "renew every mounted image"), OUTPUT],
    settings: CLIENT,
    examples: [`renew ${IMAGE}`, "renew --all"],
    exitCodes: { 0: "success", 1: "failed for an image, or no agent answers", 2: INVALID },
    run: lazy(async () => (await import("./agent_control.ts")).renew),
  },
  {
    name: "log-level",
    description: "Print or change the log level of the running agent.",
    args: [
      new Argument("<action>", "get or set").choices(["get", "set"]),
      new Argument("[level]", "log level").choices(["debug", "info", "warning", "error"]),
    ],
    options: [OUTPUT],
    settings: CLIENT,
    examples: ["log-level get", "log-level set debug"],
    exitCodes: { 0: "success", 1: "no agent answers", 2: INVALID },
    run: lazy(async () => (await import("./agent_control.ts")).logLevel),
  },
  {
    name: "cri-proxy",
    description: "Route image pulls through the CRI proxy or past it, or show where they go.",
    args: [new Argument("<action>", "on, off or status").choices(["on", "off", "status"])],
    options: [OUTPUT],
    settings: ["config"],
    examples: ["cri-proxy status", "cri-proxy off"],
    exitCodes: { 0: "success", 1: "pulls do not go where configured, or failed", 2: INVALID },
    run: lazy(async () => (await import("./cri_proxy.ts")).criProxy),
  },
  {
    name: "support-bundle",
    description: "Collect version, configuration, status, metrics, log and checks for a report.",
    args: [new Argument("[file]", "tar archive to write; by default in this folder")],
    settings: [...CLIENT, "address"],
    examples: ["support-bundle", "support-bundle /tmp/report.tar"],
    exitCodes: { 0: "written", 1: "failed", 2: INVALID },
    run: lazy(async () => (await import("./support_bundle.ts")).supportBundle),
  },
  {
    ...INSTALLER,
    name: "install",
    description: "Install the binary, its unit and a configuration on this host.",
    options: [
      ...INSTALLER.options,
      new Option("--docker-credential-helper", "also install the docker credential helper"),
      new Option("--kubelet-plugin [name]", "also answer the kubelet in place of this plugin"),
      new Option("--now", "also enable and restart the service").conflicts("root"),
    ],
    examples: ["install --now", "install --root /mnt/image --dry-run"],
    async run({ context, program, options }) {
      const { install } = await import("./install.ts");
      const known = texts(program);
      return await install(
        context,
        options as InstallOptions,
        (name) => known.get(name)?.text ?? "",
      );
    },
  },
  {
    ...INSTALLER,
    name: "uninstall",
    description: "Stop the service and remove what `install` created.",
    options: [...INSTALLER.options, new Option("--purge", "also remove the configuration")],
    examples: ["uninstall", "uninstall --purge"],
    async run({ context, options }) {
      return await (await import("./install.ts")).uninstall(context, options as UninstallOptions);
    },
  },
  {
    name: "docker-credential",
    description: "Run as a docker credential helper; reads its input from stdin.",
    // The protocol defines the answer to an unknown action, so there are no choices.
    args: [new Argument("<action>", "get, list, store, erase or version")],
    examples: ["docker-credential get <<< registry.example.com"],
    exitCodes: { 0: "success", 1: "no credential, or failed" },
    async run({ context, args: [action] }) {
      return await (await import("./docker_credential.ts")).dockerCredential(context, [action]);
    },
  },
  {
    name: "credential-provider",
    description: "Run as a credential provider plugin of the kubelet; reads a request from stdin.",
    args: [new Argument("[plugin...]", "the cloud's plugin and its arguments")],
    examples: ["credential-provider -- /opt/plugins/ecr-credential-provider"],
    exitCodes: { 0: "success", 1: "failed" },
    async run({ context, args: [plugin] }) {
      return await (await import("./credential_provider.ts")).credentialProvider(context, plugin);
    },
  },
  {
    name: "show",
    description:
      "Print a file from the program: units, sample configurations, alert rules, man page.",
    args: [new Argument("[name]", "name of the text; without it, lists the names")],
    examples: ["show", "show config.toml"],
    exitCodes: { 0: "printed", 2: "no such text" },
    run: ({ context, program, args: [name] }) => show(context, program, name),
  },
  {
    name: "version",
    description: "Print the version and the build.",
    options: [OUTPUT],
    examples: ["version -o json"],
    exitCodes: { 0: "printed" },
    run({ context, options: { output } }) {
      if (output === "json") printJson(context, buildOf(context));
      else context.host.out(`${versionLine(context)}\n`);
      return EXIT.ok;
    },
  },
  {
    name: "demo",
    description: "Demonstrate the renewal on a simulated node, in about 20 seconds.",
    options: [OUTPUT],
    examples: ["demo"],
    exitCodes: { 0: "no read failed with the agent", 1: "a read failed, or interrupted" },
    async run({ context, options: { output } }) {
      const { demo } = await import("../simulator/mod.ts");
      return await demo(context, { output, color: usesColor(context) });
    },
  },
  {
    name: "help",
    description: "Print the help of a command.",
    args: [new Argument("[command]")],
    run({ program, args: [name] }) {
      const command = program.commands.find((command) => command.name() === name);
      if (name !== undefined && command === undefined) {
        program.error(`error: unknown command '${name}'`);
      }
      return (command ?? program).help();
    },
  },
];

/** Commands that the shells and the simulator call. */
export const HIDDEN_COMMANDS: readonly CommandDefinition[] = [
  {
    name: "complete",
    description: "Print completions of the last word, for a shell.",
    args: [new Argument("[words...]")],
    run({ context, program, args: [words] }) {
      const names = [...texts(program).keys()];
      for (const word of completionsOf(program, words, names)) context.host.out(`${word}\n`);
      return EXIT.ok;
    },
  },
  {
    name: "simnode-daemon",
    description: "A nydusd of the simulated node.",
    args: [new Argument("[args...]")],
    run: async ({ args: [words] }) => (await import("../simulator/mod.ts")).runSimDaemon(words),
  },
];

function buildOf({ host }: Context) {
  const { version, commit, denoVersion } = BUILD_INFO;
  return { version, commit, denoVersion: denoVersion || host.denoVersion };
}

/** Returns the version and the build. */
export function versionLine(context: Context): string {
  const { version, commit, denoVersion } = buildOf(context);
  return `${PROGRAM} ${version} (commit ${commit}, deno ${denoVersion})`;
}
