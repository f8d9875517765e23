import type { ConfigProblem } from "../model/mod.ts";

/** What `check` found: problems stop the agent from doing its job, warnings are worth a look. */
export interface CheckFindings {
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigProblem[];
  /** What is in order, in words: `sockets: 3 nydusd answer`. */
  readonly fine: string[];
}

/** Something about a file, socket or program as a whole. */
export function about(file: string, problem: string, remedy: string): ConfigProblem {
  return { file, place: "", problem, remedy };
}

/** The same for something that is not there. */
export function missing(file: string, remedy: string): ConfigProblem {
  return about(file, "it does not exist", remedy);
}
