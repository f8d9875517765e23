import { parse, TomlError } from "@std/toml";
import { AgentError, messageOf } from "../model/mod.ts";
import type { Findings } from "./settings.ts";

/** A parsed TOML table. */
export type TomlTable = Readonly<Record<string, unknown>>;

/** Reads a text file; undefined if it is missing. Throws an `AgentError` with code `io`. */
export type ReadText = (path: string) => Promise<string | undefined>;

/** A file to load. */
export interface FileToLoad {
  readonly path: string;
  /** The flag, variable or key that sets the path; undefined for a default that may be missing. */
  readonly setBy?: string;
}

/**
 * Loads a TOML file. Returns undefined if it is missing or invalid; problems are added to
 * `findings`. An empty file is an empty table.
 */
export async function loadToml(
  { path, setBy }: FileToLoad,
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
    return refuse(messageOf(error), "make it readable for the user of the agent");
  }
  if (text === undefined) {
    return setBy === undefined
      ? undefined
      : refuse(`no such file, but ${setBy} refers to it`, "create it or change the path");
  }
  if (/[\0\uFFFD]/.test(text)) {
    return refuse("not a UTF-8 text file", "replace it with a TOML file");
  }
  try {
    return parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The rest of the parser's message quotes the file, which may contain a secret.
    const problem = (error.message.split("\n")[0] ?? "").replace("Invalid TOML document: ", "");
    const place = `line ${error.line}, column ${error.column}`;
    return refuse(
      `invalid TOML: ${problem}`,
      `write key = "value" or [table], one per line`,
      place,
    );
  }
}

/** Returns whether a parsed value is a table. */
export function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date);
}
