import { isAbsolute, join } from "@std/path";
import {
  type Clock,
  type Credential,
  credentialFromPair,
  type CredentialRequest,
  defined,
  type ExecutionResult,
  type FileSystem,
  isNewEnough,
  isRefused,
  type Observer,
  type ProcessResult,
  type ProcessRunner,
  type Random,
  type ReasonCode,
  Refusals,
  ScopedBackoff,
  Secret,
  Semaphore,
  SHARED_EXECUTION_MS,
  tokenExpiryOf,
} from "../../model/mod.ts";
import { firstJsonValue, goField, isFields } from "../../formats/mod.ts";

/** Decoded result of one `docker-credential-NAME get`. */
export type HelperResult =
  | { readonly kind: "found"; readonly credential: Credential }
  | { readonly kind: "none"; readonly reason: ReasonCode }
  | { readonly kind: "failed"; readonly reason: ReasonCode; readonly detail: string };

/** A helper's result for one server, with the time and origin of the result. */
export type HelperOutcome = HelperResult & {
  /** Wall time at which the helper was executed. */
  readonly fetchedAtMs: number;
  readonly expiresAtMs?: number;
  /** Why the expiry in the credential was rejected as implausible. */
  readonly warning?: string;
  /** Set for a failure: wall time before which the helper is not executed again. */
  readonly retryAtMs?: number;
  readonly source: "executed" | "shared" | "cached";
};

/** Dependencies and settings of {@linkcode CredentialHelpers}. */
export interface CredentialHelpersOptions {
  readonly processRunner: ProcessRunner;
  readonly files: FileSystem;
  readonly clock: Clock;
  /** Adds jitter to the backoff. */
  readonly random?: Random;
  readonly observer: Observer;
  /** The environment's `PATH`. */
  readonly searchPath: string;
  readonly timeoutMs: number;
  /** How long a credential is cached before its helper is executed again. */
  readonly refreshIntervalMs: number;
  /** Stops running helpers. */
  readonly signal: AbortSignal;
  /** The instance before a configuration reload; its cache and backoff are carried over. */
  readonly before?: CredentialHelpers;
}

/** The agent's own helper. Executing it would make the agent query itself. */
const OWN_HELPER = "nydus-auth";
/**
 * Environment variable set for helpers and plugins. With it, `docker-credential-nydus-auth`
 * recognizes a recursive call even under another file name.
 */
export const CALLED_BY_AGENT = "DOCKER_CREDENTIAL_NYDUS_AUTH_CALLED_BY_AGENT";
const MAX_STDOUT_BYTES = 1024 * 1024;
const MAX_PARALLEL_PER_HELPER = 4;
/** Limit of tracked helpers, and of tracked servers. */
const MAX_TRACKED = 1_024;
/** Backoff limit for a helper that is not installed: checking for it is cheap. */
const MISSING_MAX_MS = 10_000;

/** State of one helper. */
interface Helper {
  readonly command: string;
  /** A failing helper is backed off for all servers. */
  readonly backoff: ScopedBackoff;
  /** Limits concurrent executions per helper, so that one that hangs does not block the others. */
  readonly semaphore: Semaphore;
  lastFailure?: HelperResult & { readonly kind: "failed" };
}

/** State of one helper for one server. */
interface HelperServer {
  readonly helper: Helper;
  readonly server: string;
  readonly refusals: Refusals;
  /** Number of executions started. */
  executions: number;
  /** The last result that is not a failure, with its wall and monotonic time. */
  cached?: HelperOutcome & { readonly cachedAtMs: number; readonly cachedAtMonotonicMs: number };
  running?: Promise<HelperOutcome>;
}

/**
 * Executes docker credential helpers, with single flight, a cache and a backoff.
 *
 * Invariants:
 * - At most one execution per helper and server is running or queued; its callers share the result.
 * - A caller never gets a result fetched at or before `newerThanMs`, unless it is a failure or a
 *   refusal was reported too recently to force another execution.
 * - While a helper is in backoff it is executed only for a refused credential, once per step.
 */
export class CredentialHelpers {
  readonly #options: CredentialHelpersOptions;
  readonly #helpers: Map<string, Helper>;
  readonly #servers: Map<string, HelperServer>;

  constructor({ before, ...options }: CredentialHelpersOptions) {
    this.#options = options; // without `before`, which would keep all earlier instances in memory
    this.#helpers = before === undefined ? new Map() : before.#helpers;
    this.#servers = before === undefined ? new Map() : before.#servers;
  }

  /** Returns what the helper `docker-credential-<name>` has for a server. Never rejects. */
  async get(name: string, server: string, request: CredentialRequest): Promise<HelperOutcome> {
    const fetchedAtMs = this.#options.clock.wallMs();
    if (name === OWN_HELPER) {
      return { kind: "none", reason: "helper-is-agent", fetchedAtMs, source: "cached" };
    }
    if (/[/\\\0]/.test(name)) {
      const detail = "the configured helper name is not a file name";
      return { kind: "failed", reason: "helper-missing", detail, fetchedAtMs, source: "cached" };
    }
    return await this.#get(this.#stateOf(`docker-credential-${name}`, server), request);
  }

  async #get(state: HelperServer, request: CredentialRequest): Promise<HelperOutcome> {
    const { clock } = this.#options;
    const executionsBefore = state.executions;
    while (true) {
      const usable = this.#usable(state, request);
      if (usable !== undefined) return { ...usable, source: "cached" };
      if (state.running === undefined) {
        if (this.#isForced(state, request)) return await this.#start(state);
        const failure = this.#backingOff(state, request);
        if (failure !== undefined) return failure;
        if (request.refused && state.cached) return { ...state.cached, source: "cached" };
        return await this.#start(state, request);
      }
      // An execution that started after this call is always new enough; an earlier one may not be.
      const isFresh = state.executions > executionsBefore;
      const outcome = await state.running;
      if (
        outcome.kind === "failed" || isFresh || isNewEnough(outcome.fetchedAtMs, request, clock)
      ) {
        return { ...outcome, source: "shared" };
      }
    }
  }

  /**
   * Whether a refusal may force an execution now, bypassing cache and backoff: one per backoff step.
   * Records the execution.
   */
  #isForced({ helper, refusals }: HelperServer, { refused }: CredentialRequest): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    return refused !== undefined && refusals.mayForce(helper.command, nowMs, refused);
  }

  /** @param request Set if the execution is skipped when a backoff starts while it is queued. */
  #start(state: HelperServer, request?: CredentialRequest): Promise<HelperOutcome> {
    state.executions++;
    state.running = state.helper.semaphore.run(async () => {
      const failure = request && this.#backingOff(state, request);
      return failure ?? await this.#run(state);
    }).finally(() => delete state.running);
    return state.running;
  }

  #stateOf(command: string, server: string): HelperServer {
    const helper = getOrCreate(this.#helpers, command, () => ({
      command,
      backoff: new ScopedBackoff(this.#options),
      semaphore: new Semaphore(MAX_PARALLEL_PER_HELPER),
    }));
    return getOrCreate(this.#servers, `${command}\0${server}`, () => ({
      helper,
      server,
      refusals: new Refusals(),
      executions: 0,
    }));
  }

  /** Returns the last failure while the helper is in backoff; undefined if it may be executed. */
  #backingOff(
    { helper, server }: HelperServer,
    request: CredentialRequest,
  ): HelperOutcome | undefined {
    const { backoff, lastFailure } = helper;
    const remainingMs = backoff.remainingMs(server, request);
    if (remainingMs === 0 || lastFailure === undefined) return undefined;
    const nowMs = this.#options.clock.wallMs();
    return { ...lastFailure, fetchedAtMs: nowMs, retryAtMs: nowMs + remainingMs, source: "cached" };
  }

  #usable({ cached }: HelperServer, request: CredentialRequest): HelperOutcome | undefined {
    const { clock, refreshIntervalMs } = this.#options;
    if (cached === undefined || !isNewEnough(cached.fetchedAtMs, request, clock)) return undefined;
    const nowMs = clock.wallMs();
    const ageMs = Math.max(
      nowMs - cached.cachedAtMs,
      clock.monotonicMs() - cached.cachedAtMonotonicMs,
    );
    if (cached.kind !== "found") return ageMs < SHARED_EXECUTION_MS ? cached : undefined;
    if (isRefused(cached, request)) return undefined;
    const { expiresAtMs = Infinity } = cached;
    const isLongEnough = expiresAtMs > Math.max(nowMs, request.validUntilMs ?? nowMs);
    return ageMs < refreshIntervalMs && isLongEnough ? cached : undefined;
  }

  async #run(state: HelperServer): Promise<HelperOutcome> {
    const { clock, observer, signal } = this.#options;
    const { helper, server } = state;
    const { command, backoff } = helper;
    const fetchedAtMs = clock.wallMs();
    const startedMs = clock.monotonicMs();
    const result = await this.#execute(state).catch((): HelperResult => {
      const detail = signal.aborted ? "the agent is stopping" : "it could not be executed";
      return { kind: "failed", reason: "helper-failed", detail };
    });
    observer.notify({
      kind: "plugin-executed",
      provider: "docker",
      plugin: command,
      result: executionResult(result),
      durationMs: clock.monotonicMs() - startedMs,
      ...defined({ detail: result.kind === "failed" ? result.detail : undefined }),
    });
    if (result.kind === "failed") {
      helper.lastFailure = result;
      const maxMs = result.reason === "helper-missing" ? MISSING_MAX_MS : undefined;
      backoff.failed(server, startedMs, maxMs);
      const retryAtMs = clock.wallMs() + backoff.remainingMs(server, {});
      return { ...result, fetchedAtMs, source: "executed", retryAtMs };
    }
    backoff.succeeded(server);
    const outcome: HelperOutcome = {
      ...result,
      ...(result.kind === "found" && tokenExpiryOf(result.credential, fetchedAtMs)),
      fetchedAtMs,
      source: "executed",
    };
    state.cached = {
      ...outcome,
      cachedAtMs: clock.wallMs(),
      cachedAtMonotonicMs: clock.monotonicMs(),
    };
    return outcome;
  }

  async #execute({ helper, server }: HelperServer): Promise<HelperResult> {
    const path = await this.#find(helper.command);
    if (path === undefined) {
      return { kind: "failed", reason: "helper-missing", detail: "it is not on the PATH" };
    }
    const { processRunner, timeoutMs, signal } = this.#options;
    const result = await processRunner.run({
      path,
      args: ["get"],
      env: { [CALLED_BY_AGENT]: "1" },
      stdin: server,
      timeoutMs,
      maxStdoutBytes: MAX_STDOUT_BYTES,
    }, { signal });
    return readHelperResult(result);
  }

  async #find(command: string): Promise<string | undefined> {
    for (const folder of this.#options.searchPath.split(":")) {
      if (!isAbsolute(folder)) continue;
      const path = join(folder, command);
      const stat = await this.#options.files.stat(path).catch(() => undefined);
      if (stat?.kind === "file" && (stat.mode & 0o111) !== 0) return path;
    }
    return undefined;
  }
}

/** Returns the value of a key, created if absent; at the limit, the oldest entry is evicted. */
function getOrCreate<T>(map: Map<string, T>, key: string, create: () => T): T {
  const known = map.get(key);
  if (known !== undefined) return known;
  const [oldest] = map.keys();
  if (map.size >= MAX_TRACKED && oldest !== undefined) map.delete(oldest);
  const value = create();
  map.set(key, value);
  return value;
}

function executionResult(result: HelperResult): ExecutionResult {
  if (result.kind === "found") return "success";
  if (result.kind === "none") return "none";
  return result.reason === "helper-timeout" ? "timeout" : "failure";
}

const NOT_FOUND = "credentials not found in native keychain";
const TOKEN_USERNAME = "<token>";

/**
 * Decodes the result of `docker-credential-NAME get` (docker/docker-credential-helpers,
 * `client/client.go`). Output is never quoted: it may contain the secret, also in an error message.
 */
export function readHelperResult(result: ProcessResult): HelperResult {
  const failed = (reason: ReasonCode, detail: string) =>
    ({ kind: "failed", reason, detail }) as const;
  switch (result.kind) {
    case "not-started":
      return result.reason === "missing"
        ? failed("helper-missing", "it does not exist")
        : failed("helper-failed", "it is not executable");
    case "timed-out":
      return failed("helper-timeout", "it timed out and was stopped");
    case "too-much-output":
      return failed("helper-invalid-response", "its output exceeded the limit and it was stopped");
    case "exited":
      break;
    default:
      return result satisfies never;
  }
  if (result.code !== 0) {
    return result.stdout.trim() === NOT_FOUND
      ? { kind: "none", reason: "helper-no-credential" }
      : failed("helper-failed", `it exited with code ${result.code}`);
  }
  let body: unknown;
  try {
    body = firstJsonValue(result.stdout);
  } catch {
    return failed("helper-invalid-response", "its output is not JSON");
  }
  if (!isFields(body)) {
    return failed("helper-invalid-response", "its output is not a JSON object");
  }
  const username = goField(body, "Username") ?? "";
  const secret = goField(body, "Secret") ?? "";
  if (typeof username !== "string" || typeof secret !== "string") {
    return failed("helper-invalid-response", "Username or Secret in its output is not a string");
  }
  if (username === TOKEN_USERNAME && secret !== "") {
    const credential = { kind: "identity-token", username: "", token: new Secret(secret) } as const;
    return { kind: "found", credential };
  }
  const credential = credentialFromPair(username, secret);
  if (credential !== undefined) return { kind: "found", credential };
  return { kind: "none", reason: username === "" ? "anonymous-entry" : "incomplete-entry" };
}
