import { basename } from "@std/path";
import type { ProcessRunner } from "../model/mod.ts";

/** A process on this machine. */
export interface FoundProcess {
  readonly pid: number;
  /** Wall time, in seconds' resolution. */
  readonly startedAtMs?: number;
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
boot=$(grep ^btime /proc/stat)
for file in $(grep -lE "$WANTED" /proc/[0-9]*/cmdline 2>/dev/null); do
  pid=\${file%/cmdline}
  stat=$(cat "$pid/stat" 2>/dev/null) || continue
  set -- \${stat##*) } # the 22nd field is the start, in hundredths of a second since the boot
  printf '%s %s\\001' "\${pid#/proc/}" "$((\${boot#btime } + \${20} / 100))"
  tr '\\000\\n' '\\001 ' <"$file" 2>/dev/null
  echo
done`;

/**
 * Returns the processes whose command line matches `wanted` (an extended regular expression);
 * undefined if that cannot be determined. It runs a shell, because Deno permits reading `/proc`
 * only to programs with all permissions.
 */
export async function findProcesses(
  runner: ProcessRunner,
  wanted: string,
): Promise<readonly FoundProcess[] | undefined> {
  const result = await runner.run({
    path: SHELL,
    args: ["-c", LIST],
    env: { ...PATHS, WANTED: wanted, LC_ALL: "C" },
    stdin: "",
    timeoutMs: TIMEOUT_MS,
    maxStdoutBytes: MAX_BYTES,
  });
  if (result.kind !== "exited") return undefined;
  return result.stdout.split("\n").flatMap((line) => {
    const [numbers = "", ...argv] = line.split(MARK);
    const [pid = "", startedAt] = numbers.split(" ");
    if (!/^\d+$/.test(pid)) return [];
    return [{
      pid: Number(pid),
      argv: argv.at(-1) === "" ? argv.slice(0, -1) : argv,
      ...(startedAt !== undefined && { startedAtMs: Number(startedAt) * 1_000 }),
    }];
  });
}

/** Returns the running kubelet. */
export async function findKubelet(runner: ProcessRunner): Promise<FoundProcess | undefined> {
  const found = await findProcesses(runner, "kubelet");
  return found?.find(({ argv: [program = ""] }) => basename(program) === "kubelet");
}

/** Returns the value of a flag: `--name=value` or `--name value`. */
export function flagOf({ argv }: FoundProcess, name: string): string | undefined {
  const at = argv.findIndex((word) => word === name || word.startsWith(`${name}=`));
  return argv[at] === name ? argv[at + 1] : argv[at]?.slice(name.length + 1);
}
