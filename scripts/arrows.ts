/**
 * `deno task arrows`: checks the allowed imports between packages, that packages are imported
 * through their `mod.ts`, that there are no import cycles, and which packages use `Deno.*`. Prints the
 * imports between packages.
 *
 * @module
 */
import { dirname, join, normalize } from "@std/path";
import { fileURLToPath } from "node:url";

interface Rule {
  /** Packages that may be imported; `any` allows every package. */
  readonly packages: readonly string[] | "any";
  /** Whether `Deno.*` is allowed. */
  readonly system?: true;
  /** Allowed npm packages; everything in deno.json when absent. */
  readonly external?: readonly string[];
}

const STAGE: Rule = { packages: ["model"] };

/** The imports that are allowed between packages; everything else is forbidden. */
const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ["main", { packages: "any", system: true }],
  ["cli", { packages: "any" }],
  ["agent", { packages: "any" }],
  ["reconciler", { packages: ["model", "credentials", "verification"] }],
  ["providers", { packages: ["model", "formats"] }],
  ["formats", STAGE],
  ["verification", STAGE],
  ["discovery", STAGE],
  ["credentials", STAGE],
  ["delivery", STAGE],
  ["cri", STAGE],
  ["api", { packages: ["model", "observability"] }],
  ["config", STAGE],
  ["observability", STAGE],
  ["platform", { packages: ["model"], system: true }],
  ["simulator", { packages: ["model", "platform"], system: true }],
  ["model", { packages: [], external: ["node:crypto", "valibot"] }],
  ["assets", { packages: [], external: [] }],
]);

/** The file that may import the simulator: the table of commands. */
const DEMO = /^lib\/cli\/commands\.ts$/;

const SPECIFIER =
  /(?:^|\n)(?:import|export)\b[^"';]*?\bfrom\s+"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)|(?:^|\n)import\s+"([^"]+)"/g;

/** Files of the product and their imports: path → specifiers in order. */
type Files = ReadonlyMap<string, string>;

/** Returns every violation of the rules, one line each. */
export function findBreaches(files: Files): string[] {
  const violations = [...files].flatMap(([path, text]) => [
    ...importsOf(text).flatMap((specifier) => violationOf(path, specifier) ?? []),
    ...(usesSystem(text) && RULES.get(packageOf(path))?.system !== true
      ? [`${path}: uses Deno.*, which only platform and simulator may`]
      : []),
  ]);
  return [...violations, ...findCycles(files)].sort();
}

/** Returns the imports between packages: package → packages that it imports, both sorted. */
export function packageImports(files: Files): Map<string, string[]> {
  const found = new Map<string, Set<string>>();
  for (const [path, text] of files) {
    const from = packageOf(path);
    const targets = found.get(from) ?? new Set<string>();
    found.set(from, targets);
    for (const specifier of importsOf(text)) {
      if (!specifier.startsWith(".")) continue;
      const to = packageOf(targetOf(path, specifier));
      if (to !== from) targets.add(to);
    }
  }
  return new Map([...found].sort().map(([from, targets]) => [from, [...targets].sort()]));
}

/** Without texts of documents, which are embedded as they are. */
function importsOf(text: string): string[] {
  return [...text.matchAll(SPECIFIER)].map(([, a, b, c]) => a ?? b ?? c ?? "")
    .filter((specifier) => !specifier.endsWith(".md"));
}

/** Ignores comments and `Symbol.for("Deno.…")`. */
function usesSystem(text: string): boolean {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*|Symbol\.for\("[^"]*"\)/g, "");
  return /\bDeno\b\s*[.[]/.test(code);
}

/** Returns the package of a file; outside `lib`, the file name. */
function packageOf(path: string): string {
  const [, name] = /^lib\/([^/]+)\//.exec(path) ?? [];
  return name ?? path.replace(/\.ts$/, "");
}

function targetOf(path: string, specifier: string): string {
  return normalize(join(dirname(path), specifier));
}

function violationOf(path: string, specifier: string): string | undefined {
  const from = packageOf(path);
  const rule = RULES.get(from);
  if (rule === undefined) return `${path}: package "${from}" has no rule`;
  if (!specifier.startsWith(".")) {
    const allowed = rule.external?.includes(specifier) ?? !/^(?!node:)[a-z]+:/.test(specifier);
    return allowed ? undefined : `${path}: must not import "${specifier}"`;
  }
  const file = targetOf(path, specifier);
  const to = packageOf(file);
  if (to === from) return undefined;
  if (to === "simulator" && !DEMO.test(path)) return `${path}: must not import the simulator`;
  if (rule.packages !== "any" && !rule.packages.includes(to)) {
    return `${path}: "${from}" must not import "${to}"`;
  }
  // A folder in a package may have an entry point too, so that a new provider is one new folder.
  const isEntry = /^lib\/[^/]+\/(?:[^/]+\/)?mod\.ts$/.test(file);
  return isEntry ? undefined : `${path}: imports ${file}, not lib/${to}/mod.ts`;
}

function findCycles(files: Files): string[] {
  const cycles = new Set<string>();
  const done = new Set<string>();
  const visit = (path: string, stack: readonly string[]) => {
    const at = stack.indexOf(path);
    if (at >= 0) cycles.add(`import cycle: ${[...stack.slice(at), path].join(" → ")}`);
    if (at >= 0 || done.has(path)) return;
    for (const specifier of importsOf(files.get(path) ?? "")) {
      if (specifier.startsWith(".")) visit(targetOf(path, specifier), [...stack, path]);
    }
    done.add(path);
  };
  for (const path of [...files.keys()].sort()) visit(path, []);
  return [...cycles];
}

/** Reads `main.ts` and every TypeScript file below `lib/`. */
export function readProduct(root: string): Map<string, string> {
  const files = new Map([["main.ts", Deno.readTextFileSync(join(root, "main.ts"))]]);
  const walk = (folder: string) => {
    for (const entry of Deno.readDirSync(join(root, folder))) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory) walk(path);
      else if (path.endsWith(".ts")) files.set(path, Deno.readTextFileSync(join(root, path)));
    }
  };
  walk("lib");
  return files;
}

/** The root folder of the repository. */
export const ROOT: string = fileURLToPath(new URL("..", import.meta.url));

if (import.meta.main) {
  const files = readProduct(ROOT);
  const violations = findBreaches(files);
  const imports = [...packageImports(files)].map(([from, to]) =>
    `${from} → ${to.join(", ") || "-"}`
  );
  const lines = violations.length > 0 ? violations : imports;
  await Deno.stdout.write(new TextEncoder().encode(`${lines.join("\n")}\n`));
  Deno.exitCode = violations.length > 0 ? 1 : 0;
}
