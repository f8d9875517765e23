import { Composer, type CST, Lexer, LineCounter, Parser, type ScalarTag } from "yaml";

/** The first document as a plain value, or the first error. */
export type GoYamlReading =
  | { readonly kind: "ok"; readonly value: unknown }
  | {
    readonly kind: "invalid";
    readonly place: string;
    readonly detail: string;
    readonly remedy: string;
  };

// Plain scalars of gopkg.in/yaml.v2 (`resolve.go`); all others are strings.
const NULLS = /^(?:~|null|Null|NULL)?$/;
const TRUES = /^(?:[yY]|[yY]es|YES|[tT]rue|TRUE|[oO]n|ON)$/;
const BOOLEANS = /^(?:[yYnN]|[yY]es|YES|[nN]o|NO|[tT]rue|TRUE|[fF]alse|FALSE|[oO]n|ON|[oO]ff|OFF)$/;
const INTEGER = /^[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[0-7_]*|0[oO][0-7_]+|[1-9][0-9_]*)$/;
const FLOAT = /^[-+]?(?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?$/;
const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

const SCALAR_TAGS: readonly ScalarTag[] = [
  { tag: "tag:yaml.org,2002:null", default: true, test: NULLS, resolve: () => null },
  {
    tag: "tag:yaml.org,2002:bool",
    default: true,
    test: BOOLEANS,
    resolve: (text) => TRUES.test(text),
  },
  { tag: "tag:yaml.org,2002:int", default: true, test: INTEGER, resolve: goInteger },
  { tag: "tag:yaml.org,2002:float", default: true, test: FLOAT, resolve: goDecimal },
];

function goInteger(text: string): bigint | number {
  const plain = text.replaceAll("_", "").toLowerCase();
  const magnitude = plain.replace(/^[-+]/, "").replace(/^0(?=[0-7]+$)/, "0o");
  const value = plain.startsWith("-") ? -BigInt(magnitude) : BigInt(magnitude);
  return value < INT64_MIN || value > UINT64_MAX ? Number(value) : value;
}

/** A value beyond the range of a float stays a text. */
function goDecimal(text: string): number | string {
  const value = Number(text.replaceAll("_", ""));
  return Number.isFinite(value) ? value : text;
}

/**
 * Limit of lexical tokens. The library allocates a few KiB per token of a hostile text; the longest
 * real configurations have some thousands.
 */
const MAX_LEXEMES = 40_000;

/** Thrown for a text with more than {@linkcode MAX_LEXEMES} tokens. */
class TooLong extends Error {}

/**
 * Parses YAML or JSON like Kubernetes' configuration loader (`sigs.k8s.io/yaml`): YAML 1.1 scalars,
 * the last one of duplicate keys, only the first document. Never throws and never quotes the text,
 * which may contain a secret. Stops after the first error or document to limit memory.
 */
export function readGoYaml(text: string): GoYamlReading {
  try {
    const lineCounter = new LineCounter();
    const document = firstDocument(text, lineCounter);
    if (document === undefined) return { kind: "ok", value: undefined };
    const [error] = document.errors;
    if (error === undefined) return { kind: "ok", value: document.toJS({ maxAliasCount: 100 }) };
    const { line, col } = lineCounter.linePos(error.pos[0]);
    const place = `line ${line}, column ${col}`;
    return { kind: "invalid", place, detail: error.code, remedy: "check the indentation there" };
  } catch (error) {
    if (error instanceof TooLong) {
      const remedy = "split it or remove unused parts";
      return { kind: "invalid", place: "", detail: "too many parts", remedy };
    }
    const detail = error instanceof Error ? error.name : "unknown error";
    return { kind: "invalid", place: "", detail, remedy: "check it with a YAML linter" };
  }
}

function firstDocument(text: string, lineCounter: LineCounter) {
  const composer = new Composer({
    schema: "failsafe",
    customTags: [...SCALAR_TAGS],
    merge: true,
    uniqueKeys: false,
    logLevel: "error",
    // Each pretty error scans the whole text, and there can be one per character.
    prettyErrors: false,
  });
  let isInvalid = false;
  for (const token of tokensOf(text, lineCounter)) {
    for (const document of composer.next(token)) return document;
    isInvalid = token.type === "error";
    if (isInvalid) break;
  }
  for (const document of composer.end(isInvalid, text.length)) return document;
  return undefined;
}

function* tokensOf(text: string, lineCounter: LineCounter): Generator<CST.Token, void> {
  const parser = new Parser(lineCounter.addNewLine);
  lineCounter.addNewLine(0);
  let count = 0;
  for (const lexeme of new Lexer().lex(text)) {
    if (++count > MAX_LEXEMES) throw new TooLong();
    yield* parser.next(lexeme);
  }
  yield* parser.end();
}

/**
 * Converts a scalar to the string that the loader assigns to a string field: `value: 8080` is
 * "8080", `value: yes` is "true". Returns undefined for lists and objects.
 */
export function goString(value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return value;
    case "boolean":
    case "bigint":
    case "number":
      return String(value);
    default:
      return value === null ? "" : undefined;
  }
}
