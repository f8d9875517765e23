import { ts } from "@ts-morph/common";

/** A single change in a file. */
export interface Mutant {
  readonly file: string;
  readonly line: number;
  readonly operator: Operator;
  readonly start: number;
  readonly end: number;
  readonly original: string;
  readonly replacement: string;
}

export type Operator =
  | "comparison"
  | "boolean"
  | "constant"
  | "early-return"
  | "removed-statement"
  | "removed-await"
  | "dropped-argument";

const COMPARISONS: ReadonlyMap<ts.SyntaxKind, readonly string[]> = new Map([
  [ts.SyntaxKind.LessThanToken, ["<=", ">="]],
  [ts.SyntaxKind.LessThanEqualsToken, ["<", ">"]],
  [ts.SyntaxKind.GreaterThanToken, [">=", "<="]],
  [ts.SyntaxKind.GreaterThanEqualsToken, [">", "<"]],
  [ts.SyntaxKind.EqualsEqualsEqualsToken, ["!=="]],
  [ts.SyntaxKind.ExclamationEqualsEqualsToken, ["==="]],
]);
const LOGICAL: ReadonlyMap<ts.SyntaxKind, string> = new Map([
  [ts.SyntaxKind.AmpersandAmpersandToken, "||"],
  [ts.SyntaxKind.BarBarToken, "&&"],
]);
const ARITHMETIC: ReadonlyMap<ts.SyntaxKind, string> = new Map([
  [ts.SyntaxKind.PlusToken, "-"],
  [ts.SyntaxKind.MinusToken, "+"],
  [ts.SyntaxKind.AsteriskToken, "/"],
  [ts.SyntaxKind.SlashToken, "*"],
]);

/** Returns every mutant of a file, in source order. */
export function mutantsOf(file: string, text: string): readonly Mutant[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const mutants: Mutant[] = [];
  const add = (operator: Operator, start: number, end: number, replacement: string) => {
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    const original = text.slice(start, end);
    mutants.push({ file, line, operator, start, end, original, replacement });
  };
  const replace = (operator: Operator, node: ts.Node, replacement: string) =>
    add(operator, node.getStart(source), node.end, replacement);
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return;
    if (ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return;
    if (ts.isBinaryExpression(node)) {
      const { operatorToken } = node;
      for (const text of COMPARISONS.get(operatorToken.kind) ?? []) {
        replace("comparison", operatorToken, text);
      }
      const logical = LOGICAL.get(operatorToken.kind);
      if (logical !== undefined) replace("boolean", operatorToken, logical);
      const arithmetic = ARITHMETIC.get(operatorToken.kind);
      if (arithmetic !== undefined && !isText(node.left) && !isText(node.right)) {
        replace("constant", operatorToken, arithmetic);
      }
    } else if (node.kind === ts.SyntaxKind.TrueKeyword) {
      replace("boolean", node, "false");
    } else if (node.kind === ts.SyntaxKind.FalseKeyword) {
      replace("boolean", node, "true");
    } else if (
      ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken
    ) {
      replace("boolean", node, `(${node.operand.getText(source)})`);
    } else if (ts.isNumericLiteral(node)) {
      replace("constant", node, Number(node.text) === 0 ? "1" : `(${node.getText(source)} * 2)`);
    } else if (ts.isAwaitExpression(node) && !isReturned(node)) {
      replace("removed-await", node, `(${node.expression.getText(source)})`);
    } else if (ts.isCallExpression(node) && node.arguments.length > 0) {
      const last = node.arguments[node.arguments.length - 1] as ts.Expression;
      const before = node.arguments[node.arguments.length - 2];
      add("dropped-argument", before?.end ?? last.getStart(source), last.end, "");
    } else if (ts.isExpressionStatement(node) && !ts.isSatisfiesExpression(node.expression)) {
      // The `;` keeps the body of an `if` without braces. `super()` must be called.
      if (!node.getText(source).startsWith("super(")) replace("removed-statement", node, ";");
    }
    const body = bodyOf(node);
    if (body !== undefined && body.statements.length > 1) {
      add("early-return", body.getStart(source) + 1, body.getStart(source) + 1, " return;");
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return mutants;
}

/** Whether the caller awaits the promise instead, outside of `try` and `using`. */
function isReturned(node: ts.AwaitExpression): boolean {
  if (!ts.isReturnStatement(node.parent)) return false;
  let scope: ts.Node = node.parent;
  while (!ts.isFunctionLike(scope) && !ts.isTryStatement(scope)) scope = scope.parent;
  return !ts.isTryStatement(scope) && !/\busing\b/.test(scope.getText());
}

function isText(node: ts.Node): boolean {
  return ts.isStringLiteralLike(node) || ts.isTemplateExpression(node);
}

function bodyOf(node: ts.Node): ts.Block | undefined {
  if (ts.isConstructorDeclaration(node)) return undefined;
  if (!ts.isFunctionLike(node) || !("body" in node)) return undefined;
  const { body } = node as ts.FunctionLikeDeclaration;
  return body !== undefined && ts.isBlock(body) ? body : undefined;
}

/** Returns the mutated text. */
export function applied({ start, end, replacement }: Mutant, text: string): string {
  return text.slice(0, start) + replacement + text.slice(end);
}

/** Selects `count` mutants at random, spread evenly over the packages. */
export function sample(
  byPackage: ReadonlyMap<string, readonly Mutant[]>,
  count: number,
  random: () => number,
): readonly Mutant[] {
  const pools = [...byPackage.values()].map((mutants) => [...mutants]);
  const picked: Mutant[] = [];
  while (picked.length < count && pools.some(({ length }) => length > 0)) {
    for (const pool of pools) {
      if (pool.length === 0 || picked.length >= count) continue;
      picked.push(...pool.splice(Math.floor(random() * pool.length), 1));
    }
  }
  return picked;
}
