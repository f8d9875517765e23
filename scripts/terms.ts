// deno-lint-ignore-file no-console -- a command for contributors
/**
 * `deno task terms [FILE ...]`: fails on retired words and prints the replacement. The words are in
 * `scripts/terms.json`; see `docs/contributing.md`.
 *
 * @module
 */
import { extname, join } from "@std/path";
import { fileURLToPath } from "node:url";
import list from "./terms.json" with { type: "json" };

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const FOLDERS = ["lib", "tests", "scripts", "docs", ".ci"];
const EXTENSIONS = new Set(["", ".ts", ".md", ".json", ".yaml", ".toml", ".sh", ".service", ".1"]);
/** Recorded data, the list itself and its test; skipped also when given as arguments. */
const EXCLUDED = /conformance\/vectors|scripts\/terms\.json|tests\/unit\/scripts\/terms_test\.ts/;

const TERMS = Object.entries(list.terms).map(([pattern, instead]) => ({
  pattern: new RegExp(pattern, "gi"),
  instead,
}));

/** A retired word in a text. */
export interface TermFinding {
  /** Starts at 1. */
  readonly line: number;
  readonly word: string;
  readonly instead: string;
}

/** Text that quotes retired words: `<!-- terms: off -->` to `<!-- terms: on -->`. */
const QUOTED = /<!-- terms: off -->[^]*?<!-- terms: on -->/g;

/** Returns the retired words of a text, in order. */
export function findRetiredTerms(text: string): TermFinding[] {
  const checked = text.replaceAll(QUOTED, (part) => part.replaceAll(/[^\n]/g, ""));
  return checked.split("\n").flatMap((original, index) => {
    const allowed = list.allowed.reduce((rest, part) => rest.replaceAll(part, ""), original);
    const words = allowed.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replaceAll("_", " ");
    return TERMS.flatMap(({ pattern, instead }) =>
      [...words.matchAll(pattern)].map(([word]) => ({ line: index + 1, word, instead }))
    );
  });
}

function* filesBelow(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(join(ROOT, folder))) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* filesBelow(path);
    else if (EXTENSIONS.has(extname(path)) && !EXCLUDED.test(path)) yield path;
  }
}

if (import.meta.main) {
  const all =
    () => ["main.ts", "README.md", "deno.json", ...FOLDERS.flatMap((f) => [...filesBelow(f)])];
  const paths = Deno.args.length > 0 ? Deno.args.filter((path) => !EXCLUDED.test(path)) : all();
  let count = 0;
  for (const path of paths) {
    const name = findRetiredTerms(path);
    const found = findRetiredTerms(await Deno.readTextFile(join(ROOT, path)));
    for (const { line, word, instead } of found) {
      console.log(`${path}:${line}: "${word}": write ${instead}`);
    }
    for (const { word, instead } of name) console.log(`${path}: "${word}": write ${instead}`);
    count += found.length + name.length;
  }
  console.log(count === 0 ? "no retired terms" : `${count} retired terms`);
  Deno.exitCode = count === 0 ? 0 : 1;
}
