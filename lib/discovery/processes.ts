import type { ProcessRunner } from "../model/mod.ts";

/** A process on this machine. */
export interface FoundProcess {
  readonly pid: number;
  /** The program and its arguments. */
  readonly argv: readonly string[];
}

const SHELL = "/bin/sh";
const PATHS = { PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" };
const TIMEOUT_MS = 10_000;
const MAX_BYTES = 4 * 1024 * 1024;
/** Separates arguments instead of the zero byte; no real argument contains it. */
const MARK = "\u0001";

// One grep for all processes, then one tr for each of the few that match.
const LIST = `
for file in $(grep -lE "$WANTED" /proc/[0-9]*/cmdline 2>/dev/null); do
  pid=\${file%/cmdline}
  printf '%s\\001' "\${pid#/proc/}"
  tr '\\000\\n' '\\001 ' <"$file" 2>/dev/null
  echo
done`;

// The values may be secrets and do not leave the shell.
const NAMES = `tr '\\n\\000' ' \\n' <"/proc/$PID/environ" | sed 's/=.*//'`;

/**
 * Returns the processes whose command line matches `wanted` (an extended regular expression);
 * undefined if that cannot be determined. It runs a shell, because Deno permits reading `/proc`
 * only to programs with all permissions.
 */
export async function findProcesses(
  runner: ProcessRunner,
  wanted: string,
): Promise<readonly FoundProcess[] | undefined> {
  const text = await shell(runner, LIST, { WANTED: wanted });
  return text?.split("\n").flatMap((line) => {
    const [pid = "", ...argv] = line.split(MARK);
    if (!/^\d+$/.test(pid)) return [];
    return [{ pid: Number(pid), argv: argv.at(-1) === "" ? argv.slice(0, -1) : argv }];
  });
}

/** Returns the names of a process's environment variables; undefined without permission. */
export async function environmentNames(
  runner: ProcessRunner,
  pid: number,
): Promise<readonly string[] | undefined> {
  const text = await shell(runner, NAMES, { PID: String(pid) });
  const names = text?.split("\n").filter((name) => /^\w+$/.test(name)).sort();
  return names?.length === 0 ? undefined : names;
}

async function shell(
  runner: ProcessRunner,
  script: string,
  variables: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const result = await runner.run({
    path: SHELL,
    args: ["-c", script],
    env: { ...PATHS, ...variables, LC_ALL: "C" },
    stdin: "",
    timeoutMs: TIMEOUT_MS,
    maxStdoutBytes: MAX_BYTES,
  });
  return result.kind === "exited" ? result.stdout : undefined;
}
