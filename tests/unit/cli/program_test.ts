/** Compares the command definitions with the man page, the completions and the help texts. */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import type { Context } from "../../../lib/platform/mod.ts";
import { commands } from "../../../lib/cli/program.ts";
import { completionsOf } from "../../../lib/cli/completions.ts";
import { runProgram } from "../../../lib/cli/mod.ts";
import { texts } from "../../../lib/cli/show.ts";
import { FakeHost } from "../../fakes/host.ts";

/** Every visible command, with its options. */
const PROGRAM = commands({ host: new FakeHost() } as unknown as Context, () => {});
const COMMANDS: ReadonlyMap<string, readonly string[]> = new Map(
  PROGRAM.commands
    .filter((command) => !["simnode-daemon", "complete"].includes(command.name()))
    .map((command) => [command.name(), command.options.flatMap(({ long }) => long ?? []).sort()]),
);

Deno.test("man page: lists every command and option, and contains no unknown roff requests", () => {
  const page = textOf("nydus-auth-agent.1");
  ok(!page.includes("@COMMANDS@"));
  const plain = page.replaceAll("\\-", "-");
  for (const [name, options] of COMMANDS) {
    match(plain, new RegExp(`^\\.SS ${name}\\b`, "m"));
    for (const option of options) match(plain, new RegExp(`^\\.B (?:-\\w, )?${option}\\b`, "m"));
  }
  const requests = new Set(page.match(/^\.\S+/gm));
  const known = [".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".BI", ".BR", ".I", ".nf", ".fi"];
  deepEqual([...requests].filter((request) => !known.includes(request)), []);
});

const textOf = (name: string) => texts(PROGRAM).get(name)?.text ?? "";

/** Runs the program with arguments, which may not need a file or socket. */
async function ran(...args: readonly string[]) {
  const host = Object.assign(new FakeHost(), { args });
  const code = await runProgram({ host } as unknown as Context);
  return { code, out: host.written, err: host.complained };
}

Deno.test("completions: offer exactly the commands, options and values that exist", () => {
  const completed = (...line: readonly string[]) => completionsOf(PROGRAM, line, ["a.toml", "b"]);
  deepEqual(completed("").toSorted(), [...COMMANDS.keys(), "--version", "--help"].toSorted());
  for (const [name, options] of COMMANDS) {
    deepEqual(completed(name, "--").toSorted(), [...options, "--help"].toSorted(), name);
  }
  const cases: readonly (readonly [readonly string[], readonly string[]])[] = [
    [["st"], ["status"]],
    [["run", "--log-level", ""], ["debug", "info", "warning", "error"]],
    [["run", "--log-level", "e"], ["error"]],
    [["run", "--log-level=e"], ["--log-level=error"]],
    // Readline splits the word at the equals sign.
    [["run", "--log-level", "=", "e"], ["error"]],
    [["run", "--log-level", "="], ["debug", "info", "warning", "error"]],
    [["status", "-o", ""], ["text", "json"]],
    [["status", "--timeout", ""], []],
    [["run", "--config", "/et"], [":path"]],
    [["install", "--prefix", ""], [":path"]],
    [["cri-proxy", "o"], ["on", "off"]],
    [["show", "a"], ["a.toml"]],
    [["help", "ver"], ["version"]],
    [["no", "st"], ["status"]],
  ];
  for (const [line, wanted] of cases) deepEqual(completed(...line), wanted, line.join(" "));
});

Deno.test("complete: prints one word per line for the scripts", async () => {
  deepEqual(await ran("complete", "--", "run", "--log-f"), {
    code: 0,
    out: "--log-format\n",
    err: "",
  });
  for (const shell of ["bash", "zsh", "fish"]) {
    match(textOf(`completion.${shell}`), /complete -- .*2>\/dev\/null/);
  }
});

Deno.test("options: are accepted before the command", async () => {
  for (
    const args of [["version", "-o", "json"], ["-o", "json", "version"], [
      "--output=json",
      "version",
    ]]
  ) {
    const { code, out } = await ran(...args);
    equal(code, 0);
    equal(typeof JSON.parse(out).version, "string");
  }
});

Deno.test("errors: have one prefix, and name what to run", async () => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [["nosuch"], /^error: unknown command 'nosuch'\nrun nydus-auth-agent --help for usage\n$/],
    [["help", "nosuch"], /^error: unknown command 'nosuch'\n/],
    [["stauts"], /^error: unknown command 'stauts'\n\(Did you mean status\?\)/],
    [["status", "--kubeconfig", "/x"], /^error: unknown option .*\nrun .*-agent status --help/],
    [["get"], /^error: missing required argument 'ref'\nrun nydus-auth-agent get --help/],
    [["show", "nosuch"], /^error: show nosuch: no such text; run /],
    [["check", "--probe"], /^error: check --probe: give at least one image\n$/],
    [["renew"], /^error: renew: give either an image or --all\n$/],
    [["get", "UPPER//"], /^error: /],
  ];
  for (const [args, message] of cases) {
    const { code, out, err } = await ran(...args);
    deepEqual([code, out], [2, ""], args.join(" "));
    match(err, message);
  }
});

Deno.test("--help: fits 100 columns and shows own options, settings, examples and exit codes", async () => {
  for (const name of COMMANDS.keys()) {
    const { code, out: help } = await ran(name, "--help");
    equal(code, 0);
    deepEqual(help.split("\n").filter((line) => line.length > 99), []);
    equal((await ran("help", name)).out, help);
    match(help, /^Usage: nydus-auth-agent /);
    ok(!/default: (?:false|\[\])|<value>/.test(help), help);
    if (name === "help") continue;
    match(help, new RegExp(`\nExamples:\n  nydus-auth-agent ${name}\\b[^]*\nExit codes:\n  0  `));
    if (!help.includes("--log-level <")) continue;
    ok(help.indexOf("--config <file>") < help.indexOf("\nSettings ("), name);
    ok(help.indexOf("\n  -h, --help") < help.indexOf("\nSettings ("), name);
    match(help, /--log-level <debug\|info\|warning\|error> [^]*default\s+info\)/);
  }
});

Deno.test("--help: shows only the settings that a command uses", async () => {
  const { out } = await ran("renew", "--help");
  match(out, /--api-socket/);
  ok(!out.includes("--kubeconfig"));
  notEqual((await ran("run", "--help")).out.includes("--kubeconfig"), false);
});
