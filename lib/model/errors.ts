/** The closed list of codes that an {@linkcode AgentError} carries. */
export type AgentErrorCode =
  | "invalid-reference" // an image reference that does not parse
  | "invalid-pattern" // a matchImages pattern, or an image to match, that does not parse
  | "invalid-duration" // text that is not a Go duration
  | "invalid-credential" // an encoded credential that does not decode
  | "invalid-config" // configuration, of ours or of a program beside us
  | "invalid-response" // a peer's answer that breaks its protocol
  | "unreachable" // a peer that does not answer, or not in time
  | "refused" // a peer that answers with a refusal
  | "io" // a file or socket that the system does not let us use
  | "usage"; // a command line that makes no sense

/**
 * The one error class of the agent. The message names the action, then what stopped it, without a
 * final period, and never quotes a secret.
 */
export class AgentError extends Error {
  override readonly name = "AgentError";
  readonly code: AgentErrorCode;

  constructor(code: AgentErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** One problem in a configuration: where it is, what is wrong, and how to mend it. */
export interface ConfigProblem {
  /** Path of the file, or the name of a flag or environment variable. */
  readonly file: string;
  /** Key path such as `providers[1].name`, or `line 3, column 7`; empty for the whole file. */
  readonly place: string;
  readonly problem: string;
  readonly remedy: string;
}

/** Configuration that cannot be used: every problem at once, exit code 2. */
export class ConfigError extends AgentError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super("invalid-config", problems.map(formatProblem).join("\n"));
    this.problems = problems;
  }
}

/** `file: place: problem (mend)`, as a person reads it. */
export function formatProblem({ file, place, problem, remedy }: ConfigProblem): string {
  const where = place === "" ? file : `${file}: ${place}`;
  return `${where}: ${problem}${remedy === "" ? "" : ` (${remedy})`}`;
}

/** The message of anything thrown, for places that must not fail themselves. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An error in words that quote no secret: our own messages never do; of others only the name. */
export function safeMessageOf(error: unknown): string {
  if (error instanceof AgentError) return error.message;
  return error instanceof Error ? error.name : "something that is no error was thrown";
}
