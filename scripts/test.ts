// deno-lint-ignore-file no-console -- prints errors
/**
 * `deno task test`: runs groups of test files in parallel, with a time limit for each test. The
 * end-to-end tests run the agent from a bundle, which starts faster than its sources, or with
 * `--binary` the compiled one in `dist`, from another folder and with an empty `HOME` and `PATH`.
 * Arguments after the groups are passed to `deno test`.
 *
 * @module
 */
import { basename, join } from "@std/path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Files or folders by group. Those that take longest come first. */
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
  unit: [...Deno.readDirSync(join(root, "tests/unit"))].map(({ name }) => `tests/unit/${name}`),
  conformance: ["tests/conformance"],
  extended: ["tests/extended"],
};

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
        ...groups.flatMap((group) => modulesOf(group, folder)),
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

/**
 * Returns the modules of a group. The tests in a folder of unit or conformance tests share a module,
 * and so a worker: otherwise a third of their time is spent on loading what they have in common.
 */
function modulesOf(group: string, into: string): readonly string[] {
  const paths = GROUPS[group]?.map((path) => join(root, path)) ?? [];
  if (group !== "unit" && group !== "conformance") return paths;
  return paths.map((path, i) => {
    if (path.endsWith(".ts")) return path;
    const module = join(into, `${group}_${i}_${basename(path)}.ts`);
    const imports = testsBelow(path).map((test) => `import ${JSON.stringify(test)};\n`);
    Deno.writeTextFileSync(module, imports.join(""));
    return module;
  });
}

function testsBelow(folder: string): readonly string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    return isDirectory ? testsBelow(path) : name.endsWith("_test.ts") ? [path] : [];
  });
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
