/**
 * Checks the house rules that a type checker does not know: which room may import which, that it
 * does so through the door, that no files import each other in a circle, and who may speak to the
 * system. `deno run -R scripts/arrows.ts` prints the arrows.
 *
 * @module
 */
import { dirname, extname, join, normalize } from "@std/path";
import { fileURLToPath } from "node:url";
import { readSource, type SourceText } from "./lib/source_text.ts";

interface Room {
  /** The rooms whose doors it may import. */
  readonly rooms: readonly string[] | "any";
  /** The packages that it may import; all that deno.json names when left out. */
  readonly packages?: readonly string[];
  /** Whether it may say `Deno.`. */
  readonly system?: true;
}

const STAGE: Room = { rooms: ["model"] };

/** The arrows that are allowed: everything else is forbidden. */
const ARROWS: ReadonlyMap<string, Room> = new Map<string, Room>([
  ["main", { rooms: "any", system: true }],
  ["cli", { rooms: "any" }],
  ["reconcile", { rooms: ["model", "discover", "resolve", "store", "deliver"] }],
  ["discover", STAGE],
  ["resolve", STAGE],
  ["store", STAGE],
  ["deliver", STAGE],
  ["serve", STAGE],
  ["config", STAGE],
  ["report", STAGE],
  ["edge", { rooms: ["model"], system: true }],
  ["simnode", { rooms: ["model"], system: true }],
  ["model", { rooms: [], packages: ["node:crypto"] }],
  ["assets", { rooms: [], packages: [] }],
]);
/** The only files that may reach for the simulated node: the demo, and what offers it. */
const DEMO_FILE = /^lib\/cli\/(?:demo[^/]*|program)\.ts$/;

/** Where an import points: a file of the project, or a package. */
interface Import {
  readonly line: number;
  readonly specifier: string;
  /** Path from the project's root; undefined for a package. */
  readonly file?: string;
}

interface Module {
  readonly path: string;
  readonly room: string;
  readonly text: string;
  readonly source: SourceText;
  readonly imports: readonly Import[];
}

/**
 * Every breach of the rules of importing in the given files (path from the root → text), a line
 * each.
 */
export function findBreaches(files: ReadonlyMap<string, string>): string[] {
  const modules = readModules(files);
  return [
    ...modules.flatMap((module) => [...checkImports(module), ...checkSystem(module)]),
    ...findCycles(modules),
  ].sort();
}

/** The arrows between rooms as they are: room → rooms that it imports, both in order. */
export function roomArrows(files: ReadonlyMap<string, string>): Map<string, string[]> {
  const arrows = new Map<string, Set<string>>();
  for (const [path, text] of [...files].sort()) {
    const { room, imports } = readModule(path, text);
    const targets = arrows.get(room) ?? new Set();
    for (const { file } of imports) {
      if (file !== undefined && roomOf(file) !== room) targets.add(roomOf(file));
    }
    arrows.set(room, targets);
  }
  return new Map([...arrows].map(([room, targets]) => [room, [...targets].sort()]));
}

function readModules(files: ReadonlyMap<string, string>): Module[] {
  return [...files].map(([path, text]) => readModule(path, text));
}

function readModule(path: string, text: string): Module {
  const source = readSource(text);
  const imports = source.imports.map(({ specifier, line }) => ({
    specifier,
    line,
    ...(/^\.{0,2}\//.test(specifier) && { file: normalize(join(dirname(path), specifier)) }),
  }));
  return { path, room: roomOf(path), text, source, imports };
}

/** `lib/<room>/…` or `lib/<room>.ts`; outside of `lib` the file's own name. */
function roomOf(path: string): string {
  const inside = path.startsWith("lib/") ? path.slice("lib/".length) : path;
  const first = inside.split("/")[0] ?? inside;
  return first.slice(0, first.length - extname(first).length);
}

function isDoor(path: string): boolean {
  return /^lib\/[^/]+(?:\/mod)?\.ts$/.test(path);
}

function checkImports({ path, room, source, imports }: Module): string[] {
  const rules = ARROWS.get(room);
  if (rules === undefined) return [`${path}: the room "${room}" has no row in the table of arrows`];
  const breaches = imports.flatMap((one) => {
    const breach = one.file === undefined
      ? checkPackage(rules, one.specifier)
      : checkArrow(path, room, rules, one.file);
    return breach === undefined ? [] : [`${path}:${one.line}: ${breach}`];
  });
  const computed = /\bimport\s*\(\s*[^"\s']/.test(source.code);
  return computed ? [...breaches, `${path}: an import must name its file literally`] : breaches;
}

function checkArrow(path: string, room: string, rules: Room, file: string): string | undefined {
  const target = roomOf(file);
  if (target === room && path.startsWith("lib/") === file.startsWith("lib/")) return undefined;
  if (!file.startsWith("lib/")) return `imports ${file}, which is in no room`;
  if (!isDoor(file)) return `imports ${file}, not the door of "${target}"`;
  if (target === "simnode" && !DEMO_FILE.test(path)) {
    return `"${room}" must not import "simnode": only the demo command does`;
  }
  if (rules.rooms !== "any" && !rules.rooms.includes(target)) {
    return `"${room}" must not import "${target}"`;
  }
  return undefined;
}

function checkPackage(rules: Room, specifier: string): string | undefined {
  if (/^(?!node:)[a-z]+:/i.test(specifier)) return `imports ${specifier} past deno.json`;
  if (rules.packages === undefined || rules.packages.includes(specifier)) return undefined;
  return `must not import the package ${specifier}`;
}

function checkSystem({ path, room, source }: Module): string[] {
  const speaks = /\bDeno\b/.test(source.code);
  return speaks && !ARROWS.get(room)?.system ? [`${path}: only the edge may say "Deno."`] : [];
}

/** At least one circle of every knot of imports, from its file that comes first by name. */
function findCycles(modules: readonly Module[]): string[] {
  const targets = new Map(modules.map(({ path, imports }) => [
    path,
    imports.flatMap(({ file }) => file === undefined ? [] : [file]),
  ]));
  const done = new Set<string>();
  const cycles = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    const seenAt = trail.indexOf(path);
    if (seenAt >= 0) cycles.add(describeCycle(trail.slice(seenAt)));
    if (seenAt >= 0 || done.has(path)) return;
    for (const target of targets.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of [...targets.keys()].sort()) visit(path, []);
  return [...cycles];
}

function describeCycle(cycle: readonly string[]): string {
  const first = cycle.indexOf([...cycle].sort()[0] ?? "");
  const turned = [...cycle.slice(first), ...cycle.slice(0, first)];
  return `${turned[0]}: a circle of imports: ${[...turned, turned[0]].join(" → ")}`;
}

/** The product's files: `main.ts` and every TypeScript file under `lib/`. */
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

/** The project's folder. */
export const ROOT: string = fileURLToPath(new URL("..", import.meta.url));

if (import.meta.main) {
  const files = readProduct(ROOT);
  const breaches = findBreaches(files);
  const lines = breaches.length > 0
    ? breaches
    : [...roomArrows(files)].map(([room, targets]) =>
      `${room} → ${targets.join(", ") || "nothing"}`
    );
  await Deno.stdout.write(new TextEncoder().encode(`${lines.join("\n")}\n`));
  Deno.exitCode = breaches.length > 0 ? 1 : 0;
}
