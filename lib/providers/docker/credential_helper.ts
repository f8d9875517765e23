import { firstJsonValue, goField, isFields } from "../../formats/mod.ts";
import {
  type Clock,
  type Credential,
  credentialFromPair,
  type CredentialRequest,
  defined,
  type FileSystem,
  type ProcessResult,
  type Random,
  type ReasonCode,
  Secret,
  Semaphore,
  setNewest,
  tryParseImageTarget,
} from "../../model/mod.ts";
import {
  CachedProgram,
  failedOutcome,
  noCredential,
  type ProgramOutcome,
} from "../program/cached_program.ts";
import {
  execute,
  type ExecutionOptions,
  findExecutable,
  processProblem,
  type ProgramAuth,
  type ProgramFailure,
  type ProgramResult,
} from "../program/execution.ts";

/** Dependencies and settings of {@linkcode CredentialHelpers}. */
export interface CredentialHelpersOptions extends ExecutionOptions {
  readonly files: FileSystem;
  readonly clock: Clock;
  /** Adds jitter to the backoff. */
  readonly random?: Random;
  /** The environment's `PATH`. */
  readonly searchPath: string;
  readonly timeoutMs: number;
  /** How long a credential is cached before its helper is executed again. */
  readonly refreshIntervalMs: number;
  /** The instance before a configuration reload; its cache and backoff are carried over. */
  readonly before?: CredentialHelpers;
}

/** The agent's own helper. Executing it would make the agent query itself. */
const OWN_HELPER = "nydus-auth";
/** Limits concurrent executions per helper, so that one that hangs does not block the others. */
const MAX_PARALLEL_PER_HELPER = 4;
const MAX_HELPERS = 1_024;

/** Executes docker credential helpers, each with its own single flight, cache and backoff. */
export class CredentialHelpers {
  readonly #options: CredentialHelpersOptions;
  readonly #programs: Map<string, CachedProgram>;

  constructor({ before, ...options }: CredentialHelpersOptions) {
    this.#options = options; // without `before`, which would keep all earlier instances in memory
    this.#programs = before === undefined ? new Map() : before.#programs;
  }

  /** Returns what the helper `docker-credential-<name>` has for a server. Never rejects. */
  async get(name: string, server: string, request: CredentialRequest): Promise<ProgramOutcome> {
    const command = `docker-credential-${name}`;
    if (name === OWN_HELPER) return noCredential(command, "helper-is-agent");
    if (/[/\\\0]/.test(name)) {
      const detail = "the configured helper name is not a file name";
      return failedOutcome({ name: command, kind: "helper" }, { reason: "helper-missing", detail });
    }
    return await this.#programOf(command)
      .provide(
        request,
        tryParseImageTarget(request.image.text),
        () => this.#execute(command, server),
      );
  }

  #programOf(name: string): CachedProgram {
    const program = this.#programs.get(name) ?? new CachedProgram({
      ...this.#options,
      name,
      kind: "helper",
      semaphore: new Semaphore(MAX_PARALLEL_PER_HELPER),
    });
    setNewest(this.#programs, name, program, MAX_HELPERS);
    return program;
  }

  async #execute(name: string, server: string): Promise<ProgramResult> {
    const { files, searchPath, timeoutMs, refreshIntervalMs: cacheDurationMs } = this.#options;
    const path = await findExecutable(name, searchPath, files);
    if (path === undefined) {
      return { kind: "failed", reason: "helper-missing", detail: "it is not on the PATH" };
    }
    return await execute(
      this.#options,
      { provider: "docker", name, failed: "helper-failed" },
      { path, args: ["get"], env: {}, stdin: server, timeoutMs },
      (result) => {
        const reading = readHelperResult(result, timeoutMs);
        if (reading.kind === "failed") return reading;
        const auth = reading.entry && [{ pattern: server, ...reading.entry }];
        const response = {
          cacheKeyType: "Registry",
          cacheDurationMs,
          ...defined({ auth }),
        } as const;
        return { kind: "responded", response };
      },
    );
  }
}

/** What a helper returned: without an entry, it has no credential for the registry. */
type HelperReading =
  | { readonly kind: "read"; readonly entry?: Omit<ProgramAuth, "pattern"> }
  | ProgramFailure;

const FAILURES = {
  "missing": "helper-missing",
  "not-executable": "helper-failed",
  "timeout": "helper-timeout",
  "too-much-output": "helper-invalid-response",
  "failed": "helper-failed",
} as const satisfies Record<string, ReasonCode>;

const NOT_FOUND = "credentials not found in native keychain";
const TOKEN_USERNAME = "<token>";

/**
 * Decodes the result of `docker-credential-NAME get` (docker/docker-credential-helpers,
 * `client/client.go`). Output is never quoted: it may contain the secret, also in an error message.
 */
export function readHelperResult(result: ProcessResult, timeoutMs: number): HelperReading {
  const stdout = result.kind === "exited" ? result.stdout : "";
  const problem = processProblem(result, timeoutMs);
  if (problem?.kind === "failed" && stdout.trim() === NOT_FOUND) return { kind: "read" };
  if (problem !== undefined) {
    return { kind: "failed", reason: FAILURES[problem.kind], detail: problem.detail };
  }
  const invalid = (detail: string) =>
    ({ kind: "failed", reason: "helper-invalid-response", detail }) as const;
  let body: unknown;
  try {
    body = firstJsonValue(stdout);
  } catch {
    return invalid("its output is not JSON");
  }
  if (!isFields(body)) return invalid("its output is not a JSON object");
  const username = goField(body, "Username") ?? "";
  const secret = goField(body, "Secret") ?? "";
  if (typeof username !== "string" || typeof secret !== "string") {
    return invalid("Username or Secret in its output is not a string");
  }
  const credential: Credential | undefined = username === TOKEN_USERNAME && secret !== ""
    ? { kind: "identity-token", username: "", token: new Secret(secret) }
    : credentialFromPair(username, secret);
  return { kind: "read", entry: { username, ...defined({ credential }) } };
}
