/** The machines that a binary can be compiled for, with their number in an ELF header. */
export const TARGETS = {
  "x86_64-unknown-linux-gnu": 0x3e,
  "aarch64-unknown-linux-gnu": 0xb7,
} as const;
/** One of {@linkcode TARGETS}. */
export type Target = keyof typeof TARGETS;

/** A build that cannot go on, in words for the person who started it. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}

/** The target with this name. @throws {BuildError} when it is not among {@linkcode TARGETS}. */
export function parseTarget(name: string): Target {
  const target = Object.keys(TARGETS).find((known) => known === name);
  if (target === undefined) {
    const known = Object.keys(TARGETS).join(" and ");
    throw new BuildError(`choose a target: "${name}" is not supported, only ${known}`);
  }
  return target as Target;
}

/** How a tool ended. */
export interface ToolResult {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a tool to its end. @throws {BuildError} when there is no such tool. */
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
    if (error instanceof Deno.errors.NotFound) throw new BuildError(`run ${path}: no such program`);
    throw error;
  }
}

/** The lines of a tool's complaint that say something: no backtrace, no progress. */
export function complaint(stderr: string): string {
  const text = stderr.split(/\n\s*Stack backtrace:/)[0] ?? "";
  return text.split("\n").filter((line) => !/^\s*(?:Download|Compile|Check|Bundled)\b/.test(line))
    .join("\n").trim();
}

/**
 * Refuses a `denort` that is missing, no Linux program, or for another machine than the target: the
 * compiler would take it all the same, and write a binary that does not start.
 *
 * @throws {BuildError} with the way out.
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
    throw new BuildError(`read DENORT_BIN=${path}: ${reason}`);
  }
  const isElf = header[0] === 0x7f && header[1] === 0x45 && header[2] === 0x4c;
  if (!isElf) throw new BuildError(`read DENORT_BIN=${path}: not a Linux program`);
  const machine = new DataView(header.buffer).getUint16(18, true);
  if (machine !== TARGETS[target]) {
    throw new BuildError(`read DENORT_BIN=${path}: it is for another machine than ${target}`);
  }
}

/** What to say when the compiler found no `denort`. */
export function denortMissing(version: string, target: Target, reason: string): BuildError {
  return new BuildError(
    `compile for ${target}: there is no denort ${version} (${reason}). Ways out:\n` +
      `  - with a network: let deno download it once; it keeps it in its cache\n` +
      `  - behind a proxy: set HTTPS_PROXY; DENO_TLS_CA_STORE=system if it has a CA of its own\n` +
      `  - without one: download denort-${target}.zip of Deno's release v${version} elsewhere,\n` +
      `    unpack it, and set DENORT_BIN to the denort inside`,
  );
}
