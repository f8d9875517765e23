import type { ConfigProblem } from "../model/mod.ts";

/** Results of `check`. */
export interface CheckFindings {
  /** Keep the agent from working. */
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigProblem[];
  /** Checks that passed, such as `sockets: 3 of 3 nydusd answer`. */
  readonly passed: string[];
}

/** Returns a finding about a file, a socket or a program as a whole. */
export function finding(file: string, problem: string, remedy: string): ConfigProblem {
  return { file, place: "", problem, remedy };
}

/** Returns a finding about a file that does not exist. */
export function missing(file: string, remedy: string): ConfigProblem {
  return finding(file, "it does not exist", remedy);
}
