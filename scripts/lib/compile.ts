import { basename, dirname, join } from "@std/path";
import type { BuildInfo } from "../../lib/assets/mod.ts";
import { DEVELOPMENT_STAMP, stampBundle } from "./build_stamp.ts";
import { compileFlags } from "./permissions.ts";
import {
  BuildError,
  checkDenort,
  denortMissing,
  errorOutput,
  runTool,
  type Target,
} from "./toolchain.ts";

/** Tools of a build. */
export interface BuildTools {
  /** The root folder of the repository. */
  readonly root: string;
  /** The `deno` that bundles and compiles. */
  readonly deno: string;
  /** `DENORT_BIN`, if set. */
  readonly denort?: string;
}

/** The version and target of a `deno`. */
export interface DenoVersion {
  readonly version: string;
  readonly target: string;
}

/** Returns the output of `deno --version`. @throws {BuildError} when the program is not deno. */
export async function denoVersion(deno: string): Promise<DenoVersion> {
  const { stdout } = await runTool(deno, ["--version"]);
  const parts = /^deno ([0-9][0-9A-Za-z.+-]*) \(.*?([a-z0-9_]+-[a-z]+-[a-z]+(?:-[a-z]+)?)\)/
    .exec(stdout);
  if (parts === null) throw new BuildError(`failed to get the version of ${deno}: not a deno`);
  return { version: parts[1] ?? "", target: parts[2] ?? "" };
}

/** Returns the version, commit and Deno version of the build. */
export async function buildInfo(tools: BuildTools, version: string): Promise<BuildInfo> {
  const config = JSON.parse(await Deno.readTextFile(join(tools.root, "deno.json")));
  return { version: String(config.version), commit: await commit(tools), denoVersion: version };
}

// Without git or a commit, the build continues with "unknown".
async function commit({ root }: BuildTools): Promise<string> {
  try {
    const head = await runTool("git", ["rev-parse", "--short=12", "HEAD"], { cwd: root });
    if (!head.success) return "unknown";
    const changes = await runTool("git", ["status", "--porcelain"], { cwd: root });
    return head.stdout.trim() + (changes.stdout.trim() === "" ? "" : "-dirty");
  } catch {
    return "unknown";
  }
}

/** Returns the commit time (ISO 8601, UTC); undefined without git. */
export async function commitTime({ root }: BuildTools): Promise<string | undefined> {
  try {
    const { success, stdout } = await runTool("git", ["log", "-1", "--format=%ct"], { cwd: root });
    const seconds = Number(stdout.trim());
    if (!success || !(seconds > 0)) return undefined;
    return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
  } catch {
    return undefined;
  }
}

/**
 * Bundles `entry` into `folder`: `main.js`, and a chunk for each dynamic import, so that a command
 * loads only the code that it uses.
 *
 * @throws {BuildError} with the error output of deno.
 */
export async function bundle(
  tools: BuildTools,
  entry: string,
  folder: string,
  minify: boolean,
): Promise<void> {
  const args = ["bundle", "--quiet", "--platform", "deno", "--code-splitting"];
  args.push(...(minify ? ["--minify"] : []), "--outdir", folder, entry);
  const { success, stderr } = await runTool(tools.deno, args, { cwd: tools.root });
  if (!success) throw new BuildError(`failed to bundle ${entry}: ${errorOutput(stderr)}`);
}

/**
 * Bundles the agent into `folder` with the values of the build. Returns the path of its entry.
 *
 * @throws {BuildError} when the minifier removed a `using` declaration: it inlines a value that is used
 * once, so the value is never disposed. Use `try` and `finally` there.
 */
export async function bundleAgent(
  tools: BuildTools,
  info: BuildInfo,
  folder: string,
): Promise<string> {
  const plain = `${folder}.plain`;
  try {
    // Remove the output of an earlier build.
    for (const old of [plain, folder]) await Deno.remove(old, { recursive: true }).catch(() => {});
    await bundle(tools, "main.ts", plain, false);
    await bundle(tools, "main.ts", folder, true);
    const lost = await usingCount(plain) - await usingCount(folder);
    if (lost !== 0) {
      throw new BuildError(
        `failed to bundle main.ts: the minifier removed ${lost} using declarations`,
      );
    }
  } finally {
    await Deno.remove(plain, { recursive: true }).catch(() => {});
  }
  await numberModules(folder);
  let stamped = 0;
  for (const path of await modulesIn(folder)) {
    const text = await Deno.readTextFile(path);
    const hasStamp = text.includes(DEVELOPMENT_STAMP);
    if (hasStamp) stamped++;
    await Deno.writeTextFile(path, REQUIRE + (hasStamp ? stampBundle(text, info) : text));
  }
  if (stamped !== 1) {
    throw new BuildError(`failed to stamp the bundle: ${stamped} modules contain the stamp`);
  }
  return join(folder, "main.js");
}

/**
 * Numbers the modules of a bundle in import order. The bundler names them by a hash of the source
 * path, which is the only part of a bundle that depends on the folder.
 */
export async function numberModules(folder: string): Promise<void> {
  const hashed = /[\w-]+-[A-Z0-9]{8}\.js/g;
  const found = new Set((await modulesIn(folder)).map((path) => basename(path)));
  const texts = new Map<string, string>();
  const visit = async (name: string): Promise<void> => {
    const text = await Deno.readTextFile(join(folder, name));
    texts.set(name, text);
    for (const [other] of text.matchAll(hashed)) {
      if (found.has(other) && !texts.has(other)) await visit(other);
    }
  };
  await visit("main.js");
  if (texts.size !== found.size) {
    throw new BuildError("failed to bundle main.ts: a module is not imported");
  }
  const names = [...texts.keys()];
  const numbered = (name: string) => {
    const i = names.indexOf(name);
    return i < 1 ? name : name.replace(/-[A-Z0-9]{8}\.js$/, `-${i}.js`);
  };
  for (const name of names) await Deno.remove(join(folder, name));
  for (const [name, text] of texts) {
    await Deno.writeTextFile(join(folder, numbered(name)), text.replaceAll(hashed, numbered));
  }
}

async function usingCount(folder: string): Promise<number> {
  let count = 0;
  for (const path of await modulesIn(folder)) {
    // The minifier merges adjacent declarations.
    const text = (await Deno.readTextFile(path))
      .replaceAll(/^( *(?:await )?using )[^\n]*;\n(?=\1)/gm, "");
    // Matches `using x = …` in plain and minified code, and not in strings.
    count += text.match(/(?<![\w$.'"`])using [A-Za-z_$][\w$]*\s*=[^=>]/g)?.length ?? 0;
  }
  return count;
}

async function modulesIn(folder: string): Promise<readonly string[]> {
  const paths: string[] = [];
  for await (const { name } of Deno.readDir(folder)) paths.push(join(folder, name));
  return paths.sort();
}

/**
 * CommonJS packages require `node:` modules at run time, and an ES module bundle has no `require`.
 */
const REQUIRE = "const require=(name)=>process.getBuiltinModule(name);\n";

/**
 * Compiles a module to a binary. It uses no configuration file, only flags, and no code cache: the
 * cache has a predictable name in the temporary folder, where another user could place code.
 *
 * @throws {BuildError} with possible solutions when `denort` is missing.
 */
export async function compile(
  tools: BuildTools,
  target: Target,
  module: string,
  output: string,
): Promise<void> {
  if (tools.denort !== undefined) await checkDenort(tools.denort, target);
  // The compiler writes the modules' names and modification times into the binary. Fixed times make
  // the build reproducible.
  const folder = dirname(module);
  for (const path of await modulesIn(folder)) await Deno.utime(path, 0, 0);
  const args = ["compile", "--quiet", "--no-check", "--no-config", "--no-lock", "--no-code-cache"];
  args.push("--target", target, "--output", output, ...compileFlags(), module);
  const env = tools.denort === undefined ? {} : { DENORT_BIN: tools.denort };
  const { success, stderr } = await runTool(tools.deno, args, { cwd: tools.root, env });
  if (success) return;
  const reason = errorOutput(stderr);
  if (/base binary|denort/i.test(reason) && tools.denort === undefined) {
    const { version } = await denoVersion(tools.deno);
    throw denortMissing(
      version,
      target,
      (reason.split("\n").at(-1) ?? "").replace(/^\s*(?:\d+: )?/, ""),
    );
  }
  throw new BuildError(`failed to compile ${module}: ${reason}`);
}

/** Returns the SHA-256 of a file, in hex. */
export async function sha256(path: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(path));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
