// deno-lint-ignore-file no-console -- prints errors
/**
 * Runs the end-to-end tests with the compiled binary in `dist`, from another folder and with an empty
 * `HOME` and `PATH` for the agent.
 *
 * @module
 */
import { join } from "@std/path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const binary = join(root, "dist", `nydus-auth-agent-${Deno.build.target}`);

async function main(): Promise<number> {
  const found = await Deno.stat(binary).catch(() => undefined);
  if (found === undefined) {
    console.error(
      `failed to test the binary: ${binary} does not exist; run "deno task compile" first`,
    );
    return 1;
  }
  const folder = await Deno.makeTempDir({ prefix: "nydus-binary-" });
  try {
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: [
        "test",
        "-A",
        "--quiet",
        "--no-check",
        "--parallel",
        "--preload",
        join(root, "tests/time_limit.ts"),
        "--config",
        join(root, "deno.json"),
        join(root, "tests/e2e"),
      ],
      cwd: folder,
      env: { NYDUS_AUTH_AGENT_BINARY: binary, DENO_JOBS: "4", DENO_NO_UPDATE_CHECK: "1" },
      stdin: "null",
    }).spawn().status;
    return code;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.exitCode = await main();
