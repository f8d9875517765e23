import { parse, TomlError } from "@std/toml";
import { AgentError, messageOf } from "../model/mod.ts";
import type { Findings } from "./settings.ts";

/** A parsed TOML table. */
export type TomlTable = Readonly<Record<string, unknown>>;

/** Reads a text file; undefined when there is none, `AgentError` `io` when it cannot be read. */
export type ReadText = (path: string) => Promise<string | undefined>;

/** A file to load, and what says that it must be there (undefined: it may be missing). */
export interface FileToLoad {
  readonly path: string;
  readonly approvedBy?: string;
}

/**
 * Text to tables. Undefined when there is no such file, and when it cannot be used, which
 * `findings` says then. An empty file is an empty table.
 */
export async function loadToml(
  { path, approvedBy }: FileToLoad,
  readText: ReadText,
  { problems }: Findings,
): Promise<TomlTable | undefined> {
  const refuse = (problem: string, remedy: string, place = "") => {
    problems.push({ file: path, place, problem, remedy });
    return undefined;
  };
  let text: string | undefined;
  try {
    text = await readText(path);
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return refuse(messageOf(error), "let the user that runs the agent read it");
  }
  if (text === undefined) {
    return approvedBy === undefined
      ? undefined
      : refuse(`there is no such file, and ${approvedBy} names it`, "create it, or name another");
  }
  if (/[\0\uFFFD]/.test(text)) {
    return refuse("it is not a text file in UTF-8", "replace it with a TOML file");
  }
  try {
    return parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The parser's message goes on with the lines of the file, which may hold anything.
    const problem = (error.message.split("\n")[0] ?? "").replace("Invalid TOML document: ", "");
    const place = `line ${error.line}, column ${error.column}`;
    return refuse(`broken TOML: ${problem}`, `write key = "value" or [table], one a line`, place);
  }
}

/** Whether a parsed value is a table, and not an array, date or plain value. */
export function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date);
}
