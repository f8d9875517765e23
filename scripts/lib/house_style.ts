import { lineAt, type SourceText } from "./source_text.ts";

const MAX_FILE_LINES = 500;
const MAX_FUNCTION_LINES = 70;
const MAX_COLUMNS = 100;

/** Lengths of the file, its lines and its functions. */
export function checkSize(path: string, text: string, { code }: SourceText): string[] {
  const lines = text.replace(/\n$/, "").split("\n");
  const breaches: string[] = [];
  if (lines.length > MAX_FILE_LINES) {
    breaches.push(`${path}: ${lines.length} lines, more than ${MAX_FILE_LINES}`);
  }
  for (const [i, line] of lines.entries()) {
    const columns = [...line].length;
    if (columns > MAX_COLUMNS) {
      breaches.push(`${path}:${i + 1}: ${columns} columns, more than ${MAX_COLUMNS}`);
    }
  }
  for (const { line, length } of longFunctions(code)) {
    breaches.push(`${path}:${line}: a function of ${length} lines, over ${MAX_FUNCTION_LINES}`);
  }
  return breaches;
}

const FUNCTION_START = new RegExp(
  String.raw`^( *)(?:` + [
    String.raw`(?:export )?(?:default )?(?:async )?function\b`,
    String.raw`(?:export )?const [\w$]+(?:: [^=]+)? = (?:async )?(?:\(|[\w$]+ =>)`,
    String.raw`(?:(?:private|protected|public|static|override|async|get|set) |\*)*` +
    String.raw`(?!(?:if|for|while|switch|catch|return|super|with)\b)#?[\w$]+(?:<.*>)?\(`,
  ].join("|") + ")",
);

/** As formatted text shows them: from a line that starts one to the brace that ends it below. */
function longFunctions(code: string): { readonly line: number; readonly length: number }[] {
  const lines = code.split("\n");
  return lines.flatMap((line, i) => {
    const indent = FUNCTION_START.exec(line)?.[1];
    if (indent === undefined || line.trimEnd().endsWith(";")) return [];
    const end = new RegExp(`^${indent}(?:\\}|\\S.*;$)`);
    const isEnd = (l: string) =>
      l === `${indent}},` || end.test(l.trimEnd()) && !/[{(,]$/.test(l.trimEnd());
    const length = lines.slice(i + 1).findIndex(isEnd) + 2;
    return length > MAX_FUNCTION_LINES ? [{ line: i + 1, length }] : [];
  });
}

const BANNED = /^(?:managers?|utils?|helpers?)$/i;
/** "Credential helper" is docker's word for a program, so where docker is meant it may be said. */
const DOCKER_FILE = /(?:docker|credential_helper)[^/]*\.ts$/;
const DOCKER_NAME = /cred(?:ential)?s?_?helper|^helperTimeoutMs$/i;
const NAME = /[\p{L}_$][\p{L}\p{N}_$]*/gu;

/** Names that say nothing, of the file and in it. */
export function checkWords(path: string, text: string, { code }: SourceText): string[] {
  const names = [...code.matchAll(NAME)].filter(({ 0: name }) => isBanned(name));
  const speaksOfDocker = names.some(({ 0: name }) => DOCKER_NAME.test(name));
  const isMeant = (name: string) =>
    DOCKER_NAME.test(name) || speaksOfDocker && /^helpers?$/.test(name) ||
    DOCKER_FILE.test(path) && /helper/i.test(name);
  const breaches = names.filter(({ 0: name }) => !isMeant(name))
    .map(({ 0: name, index }) => `${path}:${lineAt(text, index)}: the name "${name}" says nothing`);
  const parts = path.split(/[/.]/).filter((part) => isBanned(part) && !isMeant(part));
  return [...parts.map((part) => `${path}: the name "${part}" says nothing`), ...breaches];
}

function isBanned(name: string): boolean {
  return name.split(/_|(?<=[a-z0-9])(?=[A-Z])/).some((word) => BANNED.test(word));
}
