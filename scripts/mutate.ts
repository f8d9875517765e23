// deno-lint-ignore-file no-console -- prints progress and results
/**
 * `deno task mutate`: applies one code change at a time, and reports the changes that no test
 * detects.
 *
 * --packages A,B   folders of lib (default: all)
 * --count N        number of mutants, spread evenly over the packages (default 60)
 * --seed S         seed of the selection (default 1)
 * --jobs N         number of parallel jobs (default: number of cores)
 * --report FILE    the survivors as JSON (default dist/mutate/report.json)
 *
 * Each mutant is tested in a copy of the project: first with the test files that execute its line,
 * then with all unit tests of the package, then with the type checker. Equivalent mutants are listed
 * with the reason in scripts/mutate/equivalent.json and not counted.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { coverageOf } from "./mutate/coverage.ts";
import EQUIVALENT from "./mutate/equivalent.json" with { type: "json" };
import { applied, type Mutant, mutantsOf, sample } from "./mutate/mutants.ts";

/** What detected a mutant, or that it survived. */
type Verdict = "covering tests" | "package tests" | "types" | "survived";

const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
const COPIED = [
  "main.ts",
  "deno.json",
  "deno.lock",
  "README.md",
  "docs",
  "lib",
  "scripts",
  "tests",
];
/** Tests that take too long for every mutant, and tests of the documents and the layout. */
const EXCLUDED_TESTS = /^tests\/unit\/(?:fuzz\/|scripts\/|[^/]*$)/;
const RUN_LIMIT_SECONDS = 120;

const { values } = parseArgs({
  options: {
    packages: { type: "string", default: "" },
    count: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    jobs: { type: "string", default: String(navigator.hardwareConcurrency) },
    report: { type: "string", default: join(ROOT, "dist/mutate/report.json") },
  },
});
const packages = values.packages === ""
  ? [...Deno.readDirSync(join(ROOT, "lib"))].map(({ name }) => name).toSorted()
  : values.packages.split(",");

/** Returns a seeded generator of numbers in [0, 1) (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function filesBelow(folder: string, suffix: string): readonly string[] {
  return [...Deno.readDirSync(join(ROOT, folder))].flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    return isDirectory ? filesBelow(path, suffix) : name.endsWith(suffix) ? [path] : [];
  }).toSorted();
}

/** Runs `work` for each item in parallel; each worker has its own copy of the project. */
async function inCopies<T>(
  items: readonly T[],
  work: (root: string, item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  await Promise.all(Array.from({ length: Number(values.jobs) }, async () => {
    const root = await Deno.makeTempDir({ prefix: "nydus-mutate-" });
    try {
      const paths = COPIED.map((name) => join(ROOT, name));
      await new Deno.Command("cp", { args: ["-r", ...paths, root] }).output();
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
        await work(root, item);
      }
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  }));
}

/** Returns the tests that execute each line, cached by a hash of code and tests. */
async function lineCoverage(tests: readonly string[]): Promise<Map<string, string[]>> {
  const texts = ["lib", "tests"].flatMap((folder) => filesBelow(folder, ".ts"))
    .map((path) => Deno.readTextFileSync(join(ROOT, path))).join("\0");
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts));
  const cache = join(
    ROOT,
    "dist/mutate",
    `coverage-${new Uint8Array(digest).toHex().slice(0, 16)}.json`,
  );
  const cached = await Deno.readTextFile(cache).catch(() => undefined);
  if (cached !== undefined) return new Map(Object.entries(JSON.parse(cached)));
  const coverage = new Map<string, string[]>();
  await inCopies(tests, async (root, test) => {
    const lines = await coverageOf(root, test);
    if (lines === undefined) throw new Error(`${test} fails without a mutation`);
    for (const line of lines) coverage.set(line, [...coverage.get(line) ?? [], test]);
  });
  await Deno.mkdir(dirname(cache), { recursive: true });
  await Deno.writeTextFile(cache, JSON.stringify(Object.fromEntries(coverage)));
  return coverage;
}

async function succeeds(root: string, args: readonly string[]): Promise<boolean> {
  const { code } = await new Deno.Command("timeout", {
    args: ["--kill-after=5", String(RUN_LIMIT_SECONDS), Deno.execPath(), ...args],
    cwd: root,
    env: { DENO_NO_UPDATE_CHECK: "1", NYDUS_TEST_TIMEOUT_MS: "30000" },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  return code === 0;
}

async function tryMutant(
  root: string,
  mutant: Mutant,
  covering: readonly string[],
  all: readonly string[],
): Promise<Verdict> {
  const path = join(root, mutant.file);
  const text = await Deno.readTextFile(path);
  const test = ["test", "-A", "--quiet", "--no-check", "--fail-fast"];
  const limited = [...test, "--preload", "tests/time_limit.ts"];
  await Deno.writeTextFile(path, applied(mutant, text));
  try {
    if (covering.length > 0 && !await succeeds(root, [...limited, ...covering])) {
      return "covering tests";
    }
    const others = all.filter((file) => !covering.includes(file));
    if (others.length > 0 && !await succeeds(root, [...limited, ...others])) return "package tests";
    return await succeeds(root, ["check", "--quiet", "main.ts"]) ? "survived" : "types";
  } finally {
    await Deno.writeTextFile(path, text);
  }
}

const isEquivalent = ({ file, line, original, replacement }: Mutant, text: string) =>
  EQUIVALENT.some((entry) =>
    entry.file === file && entry.original === original && entry.replacement === replacement &&
    text.split("\n")[line - 1]?.includes(entry.code)
  );

const byPackage = new Map(
  packages.map((name) => [
    name,
    filesBelow(join("lib", name), ".ts").flatMap((file) => {
      const text = Deno.readTextFileSync(join(ROOT, file));
      return mutantsOf(file, text).filter((mutant) => !isEquivalent(mutant, text));
    }),
  ]),
);
const mutants = sample(byPackage, Number(values.count), seeded(Number(values.seed)));
const tests = ["tests/unit", "tests/conformance"].flatMap((dir) => filesBelow(dir, "_test.ts"))
  .filter((file) => !EXCLUDED_TESTS.test(file));
console.log(`${mutants.length} mutants, seed ${values.seed}; collecting line coverage`);
const coverage = await lineCoverage(tests);

const verdicts = new Map<Mutant, Verdict>();
await inCopies(mutants, async (root, mutant) => {
  const name = mutant.file.split("/")[1] ?? "";
  const covering = coverage.get(`${mutant.file}:${mutant.line}`) ?? [];
  const all = tests.filter((file) => file.startsWith(`tests/unit/${name}/`));
  const verdict = await tryMutant(root, mutant, covering, all);
  verdicts.set(mutant, verdict);
  if (verdict !== "survived") return;
  const { file, line, operator, original, replacement } = mutant;
  console.log(`survived: ${file}:${line} ${operator}: ${original.slice(0, 80)} → ${replacement}`);
});

const survivors = mutants.filter((mutant) => verdicts.get(mutant) === "survived");
const { report = "" } = values;
await Deno.mkdir(dirname(report), { recursive: true });
await Deno.writeTextFile(report, JSON.stringify(survivors, undefined, 2));
const percent = (part: number, whole: number) => `${Math.round(part / whole * 100)} %`;
console.log(`\n${"package".padEnd(12)} mutants detected  by types  survived`);
for (const name of packages) {
  const own = mutants.filter(({ file }) => file.startsWith(`lib/${name}/`));
  if (own.length === 0) continue;
  const count = (verdict: Verdict) => own.filter((one) => verdicts.get(one) === verdict).length;
  const survived = count("survived");
  console.log([
    name.padEnd(12),
    String(own.length).padStart(7),
    percent(own.length - survived, own.length).padStart(8),
    String(count("types")).padStart(9),
    String(survived).padStart(9),
  ].join(" "));
}
console.log(
  `total: ${percent(mutants.length - survivors.length, mutants.length)} detected; ` +
    `survivors in ${report}`,
);
