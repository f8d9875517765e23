import { isAbsolute, join } from "@std/path";
import {
  type Clock,
  type Credential,
  defined,
  type ExecutionResult,
  type FileSystem,
  type Observer,
  type ProcessRequest,
  type ProcessResult,
  type ProcessRunner,
  type ProviderName,
  type ReasonCode,
} from "../../model/mod.ts";

/**
 * Environment variable set for helpers and plugins. With it, `docker-credential-nydus-auth`
 * recognizes a recursive call even under another file name.
 */
export const CALLED_BY_AGENT = "DOCKER_CREDENTIAL_NYDUS_AUTH_CALLED_BY_AGENT";
/** Limit on the output of plugins and helpers. */
export const MAX_STDOUT_BYTES = 1024 * 1024;

/** The images for which a response may be cached. */
export type CacheKeyType = "Image" | "Registry" | "Global";

/** Credential of a response for the images that match a pattern. */
export interface ProgramAuth {
  readonly pattern: string;
  readonly username: string;
  /** Undefined for anonymous access, or if there is only a username. */
  readonly credential?: Credential;
}

/** A response of a plugin or helper. */
export interface ProgramResponse {
  readonly cacheKeyType: CacheKeyType;
  /** How long the response may be cached; 0: it must not be. */
  readonly cacheDurationMs: number;
  /** Undefined if the program has no credential for the image. */
  readonly auth?: readonly ProgramAuth[];
}

/** Why a program returned no response. The detail quotes neither stdout nor stderr. */
export interface ProgramFailure {
  readonly kind: "failed";
  readonly reason: ReasonCode;
  readonly detail: string;
}

/** Result of one execution. */
export type ProgramResult =
  | { readonly kind: "responded"; readonly response: ProgramResponse }
  | ProgramFailure;

/** Dependencies of an execution. */
export interface ExecutionOptions {
  readonly processRunner: ProcessRunner;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Stops running programs. */
  readonly signal: AbortSignal;
}

/** Executes a program and reports the execution to the observer. Never rejects. */
export async function execute(
  { processRunner, clock, observer, signal }: ExecutionOptions,
  { provider, name, failed }: {
    readonly provider: ProviderName;
    readonly name: string;
    /** The reason if it cannot be executed. */
    readonly failed: ReasonCode;
  },
  request: Omit<ProcessRequest, "maxStdoutBytes">,
  read: (result: ProcessResult) => ProgramResult,
): Promise<ProgramResult> {
  const startedMs = clock.monotonicMs();
  let result: ProgramResult;
  try {
    const env = { ...request.env, [CALLED_BY_AGENT]: "1" };
    const limited = { ...request, env, maxStdoutBytes: MAX_STDOUT_BYTES };
    result = read(await processRunner.run(limited, { signal }));
  } catch {
    const detail = signal.aborted ? "the agent is stopping" : "it could not be executed";
    result = { kind: "failed", reason: failed, detail };
  }
  observer.notify({
    kind: "plugin-executed",
    provider,
    plugin: name,
    result: executionResult(result),
    durationMs: clock.monotonicMs() - startedMs,
    ...defined({ detail: result.kind === "failed" ? result.detail : undefined }),
  });
  return result;
}

function executionResult(result: ProgramResult): ExecutionResult {
  if (result.kind === "failed") return result.reason.endsWith("-timeout") ? "timeout" : "failure";
  return result.response.auth === undefined ? "none" : "success";
}

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

/** Why a process has no usable output. */
export interface ProcessProblem {
  readonly kind: "missing" | "not-executable" | "timeout" | "too-much-output" | "failed";
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
