/** Compares the command definitions with the man page, the completions and the help texts. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import type { Context } from "../../../lib/platform/mod.ts";
import { commands } from "../../../lib/cli/program.ts";
import { texts } from "../../../lib/cli/show.ts";
import { FakeHost } from "../../fakes/host.ts";

/** Every visible command, with its options. */
const PROGRAM = commands({ host: new FakeHost() } as unknown as Context, () => {});
const COMMANDS: ReadonlyMap<string, readonly string[]> = new Map(
  PROGRAM.commands
    .filter((command) => command.name() !== "simnode-daemon")
    .map((command) => [command.name(), command.options.flatMap(({ long }) => long ?? []).sort()]),
);

Deno.test("man page: lists every command and option, and contains no unknown roff requests", () => {
  const page = textOf("nydus-auth-agent.1");
  ok(!page.includes("@COMMANDS@"));
  const plain = page.replaceAll("\\-", "-");
  for (const [name, options] of COMMANDS) {
    match(plain, new RegExp(`^\\.SS ${name}\\b`, "m"));
    for (const option of options) match(plain, new RegExp(`^\\.B ${option}\\b`, "m"));
  }
  const requests = new Set(page.match(/^\.\S+/gm));
  const known = [".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".BI", ".BR", ".I", ".nf", ".fi"];
  deepEqual([...requests].filter((request) => !known.includes(request)), []);
});

const textOf = (name: string) => texts(PROGRAM).get(name)?.text() ?? "";

/** Returns what bash completes for the last word of a line. */
async function bashCompletions(words: readonly string[]): Promise<string[]> {
  const lines = `${textOf("completion.bash")}
COMP_WORDS=(${words.map((word) => `"${word}"`).join(" ")}); COMP_CWORD=${words.length - 1}
_nydus_auth_agent; echo "\${COMPREPLY[*]}"`;
  const bash = await new Deno.Command("bash", { args: ["--norc", "-c", lines] }).output();
  equal(bash.code, 0, new TextDecoder().decode(bash.stderr));
  return new TextDecoder().decode(bash.stdout).trim().split(" ").filter((word) => word !== "")
    .sort();
}

const PROGRAM_NAME = "nydus-auth-agent";
const hasBash = ["/bin/bash", "/usr/bin/bash"].some((path) => existsSync(path));

Deno.test({
  name: "bash completions: contain exactly the commands, options and values that exist",
  ignore: !hasBash,
  async fn() {
    const commandNames = [...COMMANDS.keys(), "help", "--help", "--version"].sort();
    deepEqual(await bashCompletions([PROGRAM_NAME, ""]), commandNames);
    for (const [name, options] of COMMANDS) {
      const offered = await bashCompletions([PROGRAM_NAME, name, "--"]);
      deepEqual(offered, [...options, "--help"].sort(), name);
    }
    const levels = ["debug", "error", "info", "warning"];
    deepEqual(await bashCompletions([PROGRAM_NAME, "run", "--log-level", ""]), levels);
    deepEqual(await bashCompletions([PROGRAM_NAME, "run", "--log-level", "=", "e"]), ["error"]);
    deepEqual(await bashCompletions([PROGRAM_NAME, "run", "--log-level", "="]), levels);
    deepEqual(await bashCompletions([PROGRAM_NAME, "show", "completion.b"]), ["completion.bash"]);
  },
});

Deno.test("zsh and fish completions: contain every command and option", () => {
  const [zsh, fish] = [textOf("completion.zsh"), textOf("completion.fish")];
  for (const [name, options] of COMMANDS) {
    ok(zsh.includes(`'${name}:`), name);
    ok(fish.includes(` -a ${name} -d `), name);
    for (const option of options) {
      ok(zsh.includes(`${option}[`), `zsh: ${name} ${option}`);
      ok(fish.includes(` -l ${option.slice(2)} `), `fish: ${name} ${option}`);
    }
  }
});

Deno.test("--help: lists a command's own options before the settings, without empty defaults", async () => {
  for (const name of COMMANDS.keys()) {
    const host = new FakeHost();
    const program = commands({ host } as unknown as Context, () => {});
    await program.parseAsync([name, "--help"], { from: "user" }).catch(() => {});
    const help = host.written;
    match(help, /^Usage: nydus-auth-agent /);
    ok(!/default: (?:false|\[\])|<value>/.test(help), help);
    if (!help.includes("--log-level <")) continue;
    ok(help.indexOf("--config <file>") < help.indexOf("\nSettings ("), name);
    ok(help.indexOf("\n  -h, --help") < help.indexOf("\nSettings ("), name);
    match(help, /--log-level <debug\|info\|warning\|error> .*default info\)/);
  }
});
