// deno-lint-ignore-file no-console -- prints errors
/**
 * `deno task test`: runs groups of test files in parallel, with a time limit for each test. The
 * end-to-end tests run the agent from a bundle, which starts faster than its sources, or with
 * `--binary` the compiled one in `dist`, from another folder and with an empty `HOME` and `PATH`.
 * Arguments after the groups are passed to `deno test`.
 *
 * @module
 */
import { join } from "@std/path";
import { fileURLToPath } from "node:url";

/** Files by group. Those that take longest come first. */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  e2e: [
    ...[
      "selection_rules",
      "troubleshooting",
      "refused_reads",
      "bad_input",
      "restart",
      "kubesecret",
      "upstream_defects",
      "idle",
      "canary",
    ].map((name) => `tests/e2e/${name}_test.ts`),
    "tests/e2e",
  ],
  unit: ["tests/unit"],
  conformance: ["tests/conformance"],
  extended: ["tests/extended"],
};
const root = fileURLToPath(new URL("..", import.meta.url));

async function main([...args]: readonly string[]): Promise<number> {
  const groups: string[] = [];
  while (args[0] !== undefined && args[0] in GROUPS) groups.push(args.shift() ?? "");
  const usesBinary = args[0] === "--binary" && args.shift() !== undefined;
  const folder = await Deno.makeTempDir({ prefix: "nydus-test-" });
  try {
    const agent = usesBinary
      ? { NYDUS_AUTH_AGENT_BINARY: await binary() }
      : groups.includes("e2e")
      ? { NYDUS_TEST_MAIN: await bundle(join(folder, "main.js")) }
      : {};
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["test", "-A", "--quiet", "--no-check", "--parallel"],
        ...["--config", join(root, "deno.json"), "--preload", join(root, "tests/time_limit.ts")],
        ...groups.flatMap((group) => GROUPS[group]?.map((path) => join(root, path)) ?? []),
        ...args,
      ],
      cwd: usesBinary ? folder : root,
      env: { DENO_JOBS: "8", ...Deno.env.toObject(), DENO_NO_UPDATE_CHECK: "1", ...agent },
      stdin: "null",
    }).spawn().status;
    return code;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function binary(): Promise<string> {
  const path = join(root, "dist", `nydus-auth-agent-${Deno.build.target}`);
  await Deno.stat(path).catch(() => {
    console.error(`failed to test ${path}: it does not exist; run "deno task compile" first`);
    Deno.exit(1);
  });
  return path;
}

async function bundle(output: string): Promise<string> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", "--platform", "deno", "--output", output, join(root, "main.ts")],
    cwd: root,
    stdin: "null",
  }).output();
  // The bundler is downloaded on first use.
  return success ? output : join(root, "main.ts");
}

Deno.exitCode = await main(Deno.args);
