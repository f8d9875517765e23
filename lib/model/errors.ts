/** The code of an {@linkcode AgentError}. */
export type AgentErrorCode =
  | "invalid-reference" // an image reference that does not parse
  | "invalid-pattern" // a matchImages pattern, or an image to match, that does not parse
  | "invalid-duration" // a text that is not a Go duration
  | "invalid-credential" // an encoded credential that does not decode
  | "invalid-config" // configuration of the agent or of a program that it works with
  | "invalid-response" // a response that violates its protocol
  | "unreachable" // a peer that does not respond, or not in time
  | "refused" // a peer that refuses the request
  | "io" // a file or socket that cannot be used
  | "usage"; // an invalid command line

/** Exit codes of the commands. */
export const EXIT = { ok: 0, failed: 1, badConfig: 2, warning: 3, critical: 4 } as const;

const MAX_QUOTED_LENGTH = 200;
const MAX_JOINED_NAMES = 5;
const MAX_NAME_LENGTH = 100;

/**
 * The error class of the agent. The message is `failed to <action>: <cause>` without a final
 * period, and never contains a secret.
 */
export class AgentError extends Error {
  override readonly name = "AgentError";
  readonly code: AgentErrorCode;

  constructor(code: AgentErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A problem in a configuration: where it is, what is wrong, and how to fix it. */
export interface ConfigProblem {
  /** Path of the file, or the name of a flag or environment variable. */
  readonly file: string;
  /** Key path such as `providers[1].name`, or `line 3, column 7`; empty for the whole file. */
  readonly place: string;
  readonly problem: string;
  readonly remedy: string;
}

/** Thrown for a configuration that cannot be used, with all of its problems. */
export class ConfigError extends AgentError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super("invalid-config", problems.map(formatProblem).join("\n"));
    this.problems = problems;
  }
}

/** Formats a problem as `file: place: problem (remedy)`. */
export function formatProblem({ file, place, problem, remedy }: ConfigProblem): string {
  const where = place === "" ? file : `${file}: ${place}`;
  return `${where}: ${problem}${remedy === "" ? "" : ` (${remedy})`}`;
}

/** Returns the message of a thrown value. Never throws. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Returns a description of a thrown value that contains no secret: the message of an
 * {@linkcode AgentError}, otherwise only the name of the error.
 */
export function safeMessageOf(error: unknown): string {
  if (error instanceof AgentError) return error.message;
  return error instanceof Error ? error.name : "a value that is not an error was thrown";
}

/**
 * Quotes a reference or pattern for an error message, cut to 200 characters. Text before an `@`,
 * which may be a user name and password, is hidden.
 */
export function quoted(text: string): string {
  const digest = text.lastIndexOf("@sha");
  const end = digest < 0 ? text.length : digest;
  const at = text.lastIndexOf("@", end - 1);
  const shown = at < 0 || end === 0 ? text : `[hidden]${text.slice(at)}`;
  return JSON.stringify(
    shown.length > MAX_QUOTED_LENGTH ? `${shown.slice(0, MAX_QUOTED_LENGTH)}…` : shown,
  );
}

/** Joins the first five names, and the number of the others. Text before an `@` is hidden. */
export function joinNames(names: readonly string[]): string {
  const shown = names.slice(0, MAX_JOINED_NAMES).map((name) => {
    const at = name.lastIndexOf("@");
    const bare = at < 0 ? name : `[hidden]${name.slice(at)}`;
    return bare.length > MAX_NAME_LENGTH ? `${bare.slice(0, MAX_NAME_LENGTH)}…` : bare;
  });
  const more = names.length - shown.length;
  return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/**
 * Escapes control characters, line separators and marks for the direction of writing (`\u001b`), so
 * that a text stays on one line and cannot control a terminal.
 */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
