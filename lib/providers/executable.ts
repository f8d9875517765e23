import { isAbsolute, join } from "@std/path";
import type { FileSystem, ProcessResult } from "../model/mod.ts";

/** Limit on the output of plugins and helpers. */
export const MAX_STDOUT_BYTES = 1024 * 1024;

/** Finds a program in the folders of `PATH`, or at its absolute path. */
export async function findExecutable(
  command: string,
  searchPath: string,
  files: Pick<FileSystem, "stat">,
): Promise<string | undefined> {
  const paths = isAbsolute(command)
    ? [command]
    : searchPath.split(":").filter(isAbsolute).map((folder) => join(folder, command));
  for (const path of paths) {
    const stat = await files.stat(path).catch(() => undefined);
    if (stat?.kind === "file" && (stat.mode & 0o111) !== 0) return path;
  }
  return undefined;
}

/** Why an execution has no usable output. */
export interface ProcessProblem {
  readonly kind: "missing" | "not-executable" | "timeout" | "too-much-output" | "failed";
  /** Quotes neither stdout nor stderr: both may contain secrets. */
  readonly detail: string;
}

/** Returns the problem of an execution, or undefined if the program exited with code 0. */
export function processProblem(
  result: ProcessResult,
  timeoutMs: number,
): ProcessProblem | undefined {
  switch (result.kind) {
    case "not-started":
      return result.reason === "missing"
        ? { kind: "missing", detail: "it does not exist" }
        : { kind: "not-executable", detail: "it is not executable" };
    case "timed-out":
      return { kind: "timeout", detail: `it was stopped after ${timeoutMs / 1000} s` };
    case "too-much-output":
      return { kind: "too-much-output", detail: `its output exceeded ${MAX_STDOUT_BYTES} bytes` };
    case "exited": {
      const detail = `it exited with code ${result.code}`;
      return result.code === 0 ? undefined : { kind: "failed", detail };
    }
    default:
      return result satisfies never;
  }
}
