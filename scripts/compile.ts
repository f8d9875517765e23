// deno-lint-ignore-file no-console -- a build script prints its results
/**
 * `deno task compile`: compiles the agent into one file in `dist/`, with its checksum and its
 * software bill of materials.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { join } from "@std/path";
import type { BuildInfo } from "../lib/assets/mod.ts";
import { buildBinary, describeBinary, tryBinary } from "./lib/build.ts";
import { buildInfo, type BuildTools, denoVersion, sha256 } from "./lib/compile.ts";
import { BuildError, parseTarget, runScript, runTool, type Target } from "./lib/toolchain.ts";

const USAGE = `Usage: deno task compile [--target TARGET] [--compare]

  --target TARGET  x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu (default: this machine's)
  --compare        build again in another folder and compare the two binaries

Environment:
  DENO        the deno that bundles and compiles (default: the current one)
  DENORT_BIN  a denort of the same version for the target (default: download it)`;

async function main(args: readonly string[]): Promise<number> {
  const options = parseArguments(args);
  if (options === undefined) {
    console.log(USAGE);
    return args.includes("--help") ? 0 : 2;
  }
  const denort = Deno.env.get("DENORT_BIN") ?? "";
  const tools: BuildTools = {
    root: fileURLToPath(new URL("..", import.meta.url)),
    deno: Deno.env.get("DENO") ?? Deno.execPath(),
    ...(denort === "" ? {} : { denort }),
  };
  const host = await denoVersion(tools.deno);
  const target = parseTarget(options.target ?? host.target);
  // Read once, so that both builds of a comparison have the same values.
  const info = await buildInfo(tools, host.version);
  const binary = await buildBinary(tools, info, target, join(tools.root, "dist"));
  if (target === host.target) await tryBinary(binary);
  await describeBinary(tools, info, target, binary);
  const { size } = await Deno.stat(binary);
  console.log(`${binary}`);
  console.log(`  version ${info.version}, commit ${info.commit}, deno ${info.denoVersion}`);
  console.log(`  ${(size / 1e6).toFixed(1)} MB, sha256 ${await sha256(binary)}`);
  if (!options.compare) return 0;
  const equal = await sha256(binary) === await hashOfBuildElsewhere(tools, info, target);
  console.log(
    equal ? "builds in two folders: identical" : "builds in two folders: differ",
  );
  return equal ? 0 : 1;
}

/** Builds a copy of the sources in another folder and returns the hash of the binary. */
async function hashOfBuildElsewhere(
  tools: BuildTools,
  info: BuildInfo,
  target: Target,
): Promise<string> {
  const root = await Deno.makeTempDir({ prefix: "nydus-auth-agent-compare-" });
  try {
    const copied = ["main.ts", "lib", "deno.json", "deno.lock"];
    const { success, stderr } = await runTool("cp", ["-R", ...copied, root], { cwd: tools.root });
    if (!success) throw new BuildError(`failed to copy the sources: ${stderr.trim()}`);
    return await sha256(await buildBinary({ ...tools, root }, info, target, join(root, "dist")));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function parseArguments(
  args: readonly string[],
): { readonly target?: string; readonly compare: boolean } | undefined {
  let target: string | undefined;
  let compare = false;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (arg === "--compare") compare = true;
    else if (arg === "--target" && i + 1 < args.length) target = args[++i];
    else if (arg.startsWith("--target=")) target = arg.slice("--target=".length);
    else return undefined;
  }
  return { compare, ...(target === undefined ? {} : { target }) };
}

if (import.meta.main) {
  await runScript(() => main(Deno.args));
}
