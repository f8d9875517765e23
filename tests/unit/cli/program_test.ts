/** The commands as the program has them, against all that tells of them. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import { asset } from "../../../lib/assets/mod.ts";
import type { Context } from "../../../lib/cli/mod.ts";
import { commands } from "../../../lib/cli/program.ts";
import { FakeHost } from "../../fakes/host.ts";

/** Every command that people see, with its options. */
const COMMANDS: ReadonlyMap<string, readonly string[]> = new Map(
  commands({ host: new FakeHost() } as unknown as Context, () => {}).commands
    .filter((command) => command.name() !== "simnode-daemon")
    .map((command) => [command.name(), command.options.flatMap(({ long }) => long ?? []).sort()]),
);

/** What the manual says of each command: the options below headings that name it. */
function manualOptions(): Map<string, string[]> {
  const found = new Map<string, string[]>([...COMMANDS.keys()].map((name) => [name, []]));
  let names: string[] = [];
  for (const line of asset("nydus-auth-agent.1").replaceAll("\\-", "-").split("\n")) {
    if (/^\.S[HS] /.test(line)) names = line.slice(4).split(", ");
    if (!/^\.B[IR]? "?--/.test(line)) continue;
    // "(install)" before its text is the narrower heading.
    const flags = line.match(/--[a-z-]+/g) ?? [];
    for (const name of names) found.get(name)?.push(...flags);
  }
  return found;
}

Deno.test("the manual tells every command, and every option below the commands that take it", () => {
  const text = asset("manual");
  for (const name of COMMANDS.keys()) match(text, new RegExp(`^ {7}${name}\\b`, "m"));
  for (const [name, told] of manualOptions()) {
    deepEqual(told.sort(), COMMANDS.get(name), name);
  }
});

/** What bash offers after `nydus-auth-agent COMMAND --`. */
async function bashOffers(): Promise<Map<string, string[]>> {
  const names = ["", ...COMMANDS.keys()];
  const script = [
    asset("completion.bash"),
    ...names.map((name) => {
      const words = name === "" ? ["nydus-auth-agent", ""] : ["nydus-auth-agent", name, "--"];
      return `COMP_WORDS=(${words.map((word) => `"${word}"`).join(" ")}); ` +
        `COMP_CWORD=${words.length - 1}; _nydus_auth_agent; echo "${name}: \${COMPREPLY[*]}"`;
    }),
  ].join("\n");
  const bash = await new Deno.Command("bash", { args: ["--norc", "-c", script] }).output();
  equal(bash.code, 0, new TextDecoder().decode(bash.stderr));
  return new Map(
    new TextDecoder().decode(bash.stdout).trimEnd().split("\n").map((line) => {
      const [name = "", words = ""] = line.split(": ");
      return [name, words.split(" ").filter((word) => word !== "").sort()];
    }),
  );
}

Deno.test({
  name: "completions of bash offer exactly the commands and options that there are",
  ignore: !["/bin/bash", "/usr/bin/bash"].some((path) => existsSync(path)),
  async fn() {
    const offers = await bashOffers();
    deepEqual(offers.get(""), [...COMMANDS.keys(), "help", "--help", "--version"].sort());
    for (const [name, options] of COMMANDS) {
      deepEqual(offers.get(name), [...options, "--help"].sort(), name);
    }
  },
});

Deno.test("completions of zsh and fish know every command and option", () => {
  const [zsh, fish] = [asset("completion.zsh"), asset("completion.fish")];
  for (const [name, options] of COMMANDS) {
    ok(zsh.includes(`'${name}:`), name);
    ok(fish.includes(` -a ${name} -d `), name);
    for (const option of options) {
      ok(zsh.includes(`${option}[`), `zsh: ${name} ${option}`);
      ok(fish.includes(` -l ${option.slice(2)} `), `fish: ${name} ${option}`);
    }
  }
  const known = new Set([...COMMANDS.values()].flat().concat("--help", "--version"));
  for (const [, option = ""] of zsh.matchAll(/'\*?(--[a-z-]+)\[/g)) ok(known.has(option), option);
  for (const [, name] of fish.matchAll(/(?<!set) -l ([a-z-]+) /g)) ok(known.has(`--${name}`), name);
});

Deno.test("--help: a command's own options come before the settings, nothing says [] or false", async () => {
  for (const name of COMMANDS.keys()) {
    const host = new FakeHost();
    const program = commands({ host } as unknown as Context, () => {});
    await program.parseAsync([name, "--help"], { from: "user" }).catch(() => {});
    const help = host.written;
    match(help, /^Usage: nydus-auth-agent /);
    ok(!/default: (?:false|\[\])|<value>/.test(help), help);
    if (!help.includes("--log-level <")) continue;
    ok(help.indexOf("--config <file>") < help.indexOf("\nSettings,"), name);
    ok(help.indexOf("\n  -h, --help") < help.indexOf("\nSettings,"), name);
    match(help, /--log-level <debug\|info\|warning\|error> .*default info\)/);
  }
});
