import { join } from "@std/path";
import type { BuildInfo } from "../../lib/assets/mod.ts";
import { type BuildTools, bundleAgent, commitTime, compile, sha256 } from "./compile.ts";
import { packageFacts } from "./packages.ts";
import { sbomFromLock } from "./sbom.ts";
import { BuildError, runTool, type Target } from "./toolchain.ts";

/**
 * Compiles the binary into a folder; returns its path. The compiler writes the name into the binary,
 * so every build uses the same name.
 */
export async function buildBinary(
  tools: BuildTools,
  info: BuildInfo,
  target: Target,
  folder: string,
): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  const modules = join(folder, "nydus-auth-agent");
  const binary = join(folder, `nydus-auth-agent-${target}`);
  for (const path of [binary, `${binary}.sha256`, `${binary}.cdx.json`]) await removeOld(path);
  const entry = await bundleAgent(tools, info, modules);
  await compile(tools, target, entry, binary);
  await Deno.remove(modules, { recursive: true });
  return binary;
}

// A failed build must not leave the files of an earlier one.
async function removeOld(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Runs the binary: a denort of another version produces one that does not start. */
export async function tryBinary(binary: string): Promise<void> {
  const { success, stderr } = await runTool(binary, ["version"]);
  if (success) return;
  await Deno.remove(binary);
  throw new BuildError(
    `failed to run ${binary} version: ${stderr.trim().split("\n")[0]} ` +
      `(check that DENORT_BIN has the same version as the compiling deno)`,
  );
}

/** Writes the checksum and the bill of materials next to the binary; returns their paths. */
export async function describeBinary(
  tools: BuildTools,
  info: BuildInfo,
  target: Target,
  binary: string,
): Promise<[checksum: string, sbom: string]> {
  const digest = await sha256(binary);
  const runtime = await runtimeFile(tools, info, target);
  const name = binary.slice(binary.lastIndexOf("/") + 1);
  await Deno.writeTextFile(`${binary}.sha256`, `${digest}  ${name}\n`);
  const lock = JSON.parse(await Deno.readTextFile(join(tools.root, "deno.lock")));
  const timestamp = await commitTime(tools);
  const subject = {
    name: "nydus-auth-agent",
    version: info.version,
    commit: info.commit,
    licence: "Apache-2.0",
    denoVersion: info.denoVersion,
    target,
    sha256: digest,
    ...(runtime !== undefined && { denortSha256: await sha256(runtime) }),
    ...(timestamp !== undefined && { timestamp }),
  };
  const sbom = sbomFromLock(lock, subject, await packageFacts(tools, "main.ts"));
  await Deno.writeTextFile(`${binary}.cdx.json`, JSON.stringify(sbom, null, 2) + "\n");
  return [`${binary}.sha256`, `${binary}.cdx.json`];
}

/**
 * Returns the `denort` of a build: `DENORT_BIN`, or the archive that Deno has downloaded, whose
 * digest Deno publishes. Undefined when there is neither.
 */
export async function runtimeFile(
  { deno, denort }: BuildTools,
  { denoVersion }: BuildInfo,
  target: Target,
): Promise<string | undefined> {
  if (denort !== undefined) return denort;
  const { stdout } = await runTool(deno, ["info", "--json"]);
  const folder = join(JSON.parse(stdout).denoDir, "dl/release", `v${denoVersion}`);
  const path = join(folder, `denort-${target}.zip`);
  return await Deno.stat(path).then(() => path, () => undefined);
}
