/** A module's text, read without a parser, as far as the checks of the import arrows need it. */
export interface SourceText {
  /** The text with comments, regular expressions and the insides of strings made blank. */
  readonly code: string;
  /** What it imports and exports from, static or dynamic, in order. */
  readonly imports: readonly ImportSpecifier[];
}

export interface ImportSpecifier {
  readonly specifier: string;
  /** From 1. */
  readonly line: number;
}

interface StringLiteral {
  readonly start: number;
  readonly value: string;
}

const BEFORE_REGEX =
  /(?:^|[=([{},;:!&|?+\-*%^~<>]|\b(?:return|typeof|case|in|of|void|throw|await))$/;

/** Takes a TypeScript text apart. Texts that are no TypeScript give some answer, never an error. */
export function readSource(text: string): SourceText {
  const scanner = new Scanner(text);
  const { code, strings } = scanner.scan();
  const imports = strings
    .filter(({ start }) =>
      /\b(?:from|import|import\s*\()\s*$/.test(code.slice(0, start).slice(-80))
    )
    .map(({ start, value }) => ({ specifier: value, line: lineAt(text, start) }));
  return { code, imports };
}

/** The number of the line, from 1, that holds the character at an offset. */
export function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

class Scanner {
  readonly #text: string;
  readonly #strings: StringLiteral[] = [];
  /** For each template that is open: how many braces are open within its expression. */
  readonly #templates: number[] = [];
  #code = "";

  constructor(text: string) {
    this.#text = text;
  }

  scan(): { readonly code: string; readonly strings: readonly StringLiteral[] } {
    while (this.#code.length < this.#text.length) this.#step();
    return { code: this.#code, strings: this.#strings };
  }

  #step(): void {
    const at = this.#code.length;
    const char = this.#text[at] ?? "";
    const pair = this.#text.slice(at, at + 2);
    if (pair === "//") return this.#blank(/\/\/[^\n]*/y);
    if (pair === "/*") return this.#blank(/\/\*[^]*?(?:\*\/|$)/y);
    if (char === "/" && BEFORE_REGEX.test(this.#code.slice(-40).trimEnd())) {
      return this.#blank(/\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*|\//y);
    }
    if (char === '"' || char === "'") return this.#string();
    if (char === "`") {
      this.#code += char;
      return this.#template();
    }
    this.#code += char;
    if (char === "{") this.#countBrace(1);
    if (char === "}" && this.#countBrace(-1) < 0) {
      this.#templates.pop();
      this.#template();
    }
  }

  /** The braces now open in the innermost template's expression; 0 outside of templates. */
  #countBrace(difference: 1 | -1): number {
    const open = this.#templates.pop();
    if (open === undefined) return 0;
    this.#templates.push(open + difference);
    return open + difference;
  }

  #string(): void {
    const start = this.#code.length;
    const quote = this.#text[start] ?? "";
    this.#blank(/"(?:\\[^]|[^"\\\n])*"?|'(?:\\[^]|[^'\\\n])*'?/y);
    const value = this.#text.slice(start + 1, this.#code.length - 1);
    this.#strings.push({ start, value });
    // The quotes stay, so that what follows is seen to follow a value.
    this.#code = this.#code.slice(0, -1) + (this.#code.length - start > 1 ? quote : " ");
  }

  /** The text of a template, up to its end or its next expression. */
  #template(): void {
    this.#blank(/(?:\\[^]|\$(?!\{)|[^`\\$])*/y);
    const at = this.#code.length;
    const opens = this.#text.startsWith("${", at);
    this.#code += this.#text.slice(at, at + (opens ? 2 : 1));
    if (opens) this.#templates.push(0);
  }

  #blank(token: RegExp): void {
    token.lastIndex = this.#code.length;
    const [found = ""] = token.exec(this.#text) ?? [];
    this.#code += found.replace(/[^\n]/g, " ");
  }
}
