// deno-lint-ignore-file no-console -- a build script prints its results
/**
 * Creates `dist/image`, the file tree of the container image: the binary and its shared libraries.
 * It uses no base image, so it works without a network, and the tree can be tested in a chroot.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import { fileURLToPath } from "node:url";
import { denoVersion } from "./lib/compile.ts";
import { linkedLibraries } from "./lib/linked_libraries.ts";
import { BuildError, runTool } from "./lib/toolchain.ts";

const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";

async function main(): Promise<void> {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const { target } = await denoVersion(Deno.execPath());
  const binary = Deno.args[0] ?? join(root, "dist", `nydus-auth-agent-${target}`);
  const tree = join(root, "dist", "image");
  const { success, stdout, stderr } = await runTool("ldd", [binary]);
  if (!success) throw new BuildError(`failed to list the libraries of ${binary}: ${stderr.trim()}`);
  await Deno.remove(tree, { recursive: true }).catch(() => {});
  const put = async (from: string, to: string, mode: number) => {
    await Deno.mkdir(dirname(join(tree, to)), { recursive: true });
    await Deno.copyFile(from, join(tree, to));
    await Deno.chmod(join(tree, to), mode);
  };
  await put(binary, "/usr/bin/nydus-auth-agent", 0o755);
  for (const library of linkedLibraries(stdout)) await put(library, library, 0o755);
  await Deno.mkdir(join(tree, "etc"), { recursive: true });
  await Deno.writeTextFile(join(tree, "etc/passwd"), "root:x:0:0:root:/root:/nonexistent\n");
  await Deno.writeTextFile(join(tree, "etc/group"), "root:x:0:\n");
  await Deno.mkdir(join(tree, "root"), { mode: 0o700 });
  // The binary finds its own path through /proc, which every container engine mounts.
  await Deno.mkdir(join(tree, "proc"));
  await Deno.mkdir(join(tree, "tmp"));
  await Deno.chmod(join(tree, "tmp"), 0o1777);
  try {
    await put(CERTIFICATES, CERTIFICATES, 0o644);
  } catch {
    console.error(
      `warning: ${CERTIFICATES} not found; plugins in the image cannot verify certificates`,
    );
  }
  console.log(tree);
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(`error: ${error.message}`);
    Deno.exitCode = 1;
  }
}
