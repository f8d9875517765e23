/** Supported targets, with their machine number in an ELF header. */
export const TARGETS = {
  "x86_64-unknown-linux-gnu": 0x3e,
  "aarch64-unknown-linux-gnu": 0xb7,
} as const;
/** One of {@linkcode TARGETS}. */
export type Target = keyof typeof TARGETS;

/** Thrown when a build fails; the message is for the user. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}

/** Runs a script; a {@linkcode BuildError} is one line, and exit code 1. */
export async function runScript(main: () => Promise<number>): Promise<void> {
  try {
    Deno.exitCode = await main();
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    // deno-lint-ignore no-console -- for the user of the script
    console.error(`error: ${error.message}`);
    Deno.exitCode = 1;
  }
}

/** Parses a target name. @throws {BuildError} when it is not one of {@linkcode TARGETS}. */
export function parseTarget(name: string): Target {
  const target = Object.keys(TARGETS).find((known) => known === name);
  if (target === undefined) {
    const known = Object.keys(TARGETS).join(" and ");
    throw new BuildError(`target "${name}" is not supported; use ${known}`);
  }
  return target as Target;
}

/** Result of a tool. */
export interface ToolResult {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a tool and waits for its exit. @throws {BuildError} when the tool does not exist. */
export async function runTool(
  path: string,
  args: readonly string[],
  { cwd, env = {} }: { readonly cwd?: string; readonly env?: Record<string, string> } = {},
): Promise<ToolResult> {
  const decoder = new TextDecoder();
  try {
    const { success, stdout, stderr } = await new Deno.Command(path, {
      args: [...args],
      env: { NO_COLOR: "1", ...env },
      stdin: "null",
      ...(cwd === undefined ? {} : { cwd }),
    }).output();
    return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new BuildError(`failed to run ${path}: no such program`);
    }
    throw error;
  }
}

/** Returns the error output of a tool without backtrace and progress lines. */
export function errorOutput(stderr: string): string {
  const text = stderr.split(/\n\s*Stack backtrace:/)[0] ?? "";
  return text.split("\n").filter((line) => !/^\s*(?:Download|Compile|Check|Bundled)\b/.test(line))
    .join("\n").trim();
}

/**
 * Checks that a `denort` exists, is a Linux program and matches the target. The compiler does not
 * check this and would write a binary that does not start.
 *
 * @throws {BuildError} with the reason.
 */
export async function checkDenort(path: string, target: Target): Promise<void> {
  let header: Uint8Array;
  try {
    using file = await Deno.open(path);
    header = new Uint8Array(20);
    const count = await file.read(header);
    if ((count ?? 0) < 20) header = new Uint8Array(20);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new BuildError(`failed to read DENORT_BIN=${path}: ${reason}`);
  }
  const isElf = header[0] === 0x7f && header[1] === 0x45 && header[2] === 0x4c;
  if (!isElf) throw new BuildError(`failed to read DENORT_BIN=${path}: not a Linux program`);
  const machine = new DataView(header.buffer).getUint16(18, true);
  if (machine !== TARGETS[target]) {
    throw new BuildError(
      `failed to use DENORT_BIN=${path}: built for another machine than ${target}`,
    );
  }
}

/** Returns the error for a missing `denort`, with possible solutions. */
export function denortMissing(version: string, target: Target, reason: string): BuildError {
  return new BuildError(
    `failed to compile for ${target}: denort ${version} not found (${reason}). Solutions:\n` +
      `  - with network access: let deno download it once into its cache\n` +
      `  - behind a proxy: set HTTPS_PROXY, and DENO_TLS_CA_STORE=system if the proxy uses its own CA\n` +
      `  - offline: download denort-${target}.zip of Deno's release v${version} elsewhere,\n` +
      `    unpack it, and set DENORT_BIN to the denort inside`,
  );
}
