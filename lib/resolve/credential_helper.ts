import { join } from "@std/path";
import {
  type Clock,
  type Credential,
  credentialFromPair,
  type CredentialRequest,
  type ExecutionResult,
  type FileSystem,
  type Observer,
  type ProcessResult,
  type ProcessRunner,
  type ReasonCode,
  Secret,
} from "../model/mod.ts";
import { isFields } from "./go_json.ts";

/** What a helper answered, or why it did not. */
export type HelperAnswer =
  | { readonly kind: "found"; readonly credential: Credential; readonly fetchedAtMs: number }
  | { readonly kind: "none"; readonly reason: ReasonCode }
  | {
    readonly kind: "failed";
    readonly reason: ReasonCode;
    readonly detail: string;
    readonly retryAtMs?: number;
  };

/** What running helpers takes. */
export interface CredentialHelpersOptions {
  readonly processRunner: ProcessRunner;
  readonly files: FileSystem;
  readonly clock: Clock;
  readonly observer: Observer;
  /** The environment's `PATH`. */
  readonly searchPath: string;
  readonly timeoutMs: number;
  /** How long a found credential is kept before its helper is asked again. */
  readonly refreshIntervalMs: number;
}

/** Our own name as a helper: asking it would be asking ourselves. */
const OURSELVES = "nydus-auth";
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const NOT_FOUND = "credentials not found in native keychain";
const MAX_STDOUT_BYTES = 1024 * 1024;
const NEGATIVE_MS = 10_000;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 5 * 60_000;
const URGENT_BACKOFF_MS = 5_000;

interface Kept {
  readonly answer: HelperAnswer;
  readonly atMs: number;
  readonly failures: number;
}

/**
 * Runs docker credential helpers (docker/docker-credential-helpers, `get`): one execution at a time
 * per helper and server, shared by its callers, kept for a while, backed off after failures.
 */
export class CredentialHelpers {
  readonly #options: CredentialHelpersOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #running = new Map<string, Promise<HelperAnswer>>();
  readonly #stop = new AbortController();

  constructor(options: CredentialHelpersOptions) {
    this.#options = options;
  }

  async get(name: string, server: string, request: CredentialRequest): Promise<HelperAnswer> {
    if (name === OURSELVES) return { kind: "none", reason: "helper-is-ourselves" };
    if (!NAME.test(name)) {
      const detail = "the configuration names a helper whose name is no file name";
      return { kind: "failed", reason: "helper-missing", detail };
    }
    const key = `${name}\0${server}`;
    const kept = this.#usable(this.#kept.get(key), request);
    if (kept !== undefined) return kept;
    const running = this.#running.get(key);
    if (running !== undefined) return await running;
    const run = this.#run(name, server, key).finally(() => this.#running.delete(key));
    this.#running.set(key, run);
    return await run;
  }

  /** Ends every helper that still runs. */
  stop(): void {
    this.#stop.abort(new DOMException("helpers stopped", "AbortError"));
  }

  #usable(kept: Kept | undefined, request: CredentialRequest): HelperAnswer | undefined {
    if (kept === undefined) return undefined;
    const { answer, atMs, failures } = kept;
    const ageMs = this.#options.clock.wallMs() - atMs;
    if (ageMs < 0) return undefined;
    switch (answer.kind) {
      case "found": {
        const newEnough = request.newerThanMs === undefined || atMs > request.newerThanMs;
        return newEnough && ageMs < this.#options.refreshIntervalMs ? answer : undefined;
      }
      case "none":
        return ageMs < NEGATIVE_MS ? answer : undefined;
      case "failed": {
        const pauseMs = Math.min(
          BACKOFF_FIRST_MS * 2 ** Math.min(failures - 1, 20),
          BACKOFF_MAX_MS,
        );
        const waitMs = request.urgent ? Math.min(pauseMs, URGENT_BACKOFF_MS) : pauseMs;
        return ageMs < waitMs ? { ...answer, retryAtMs: atMs + waitMs } : undefined;
      }
    }
  }

  async #run(name: string, server: string, key: string): Promise<HelperAnswer> {
    const { clock, observer, processRunner, timeoutMs } = this.#options;
    const command = `docker-credential-${name}`;
    const path = await this.#find(command);
    const startedMs = clock.monotonicMs();
    let answer: HelperAnswer;
    if (path === undefined) {
      answer = {
        kind: "failed",
        reason: "helper-missing",
        detail: `${command} is not on the PATH`,
      };
    } else {
      const result = await processRunner.run({
        path,
        args: ["get"],
        env: {},
        stdin: server,
        timeoutMs,
        maxStdoutBytes: MAX_STDOUT_BYTES,
      }, { signal: this.#stop.signal });
      answer = readAnswer(result, clock.wallMs());
      observer.notify({
        kind: "plugin-executed",
        provider: "docker",
        plugin: command,
        result: executionResult(answer),
        durationMs: clock.monotonicMs() - startedMs,
        ...(answer.kind === "failed" && { detail: answer.detail }),
      });
    }
    const failures = answer.kind === "failed" ? (this.#kept.get(key)?.failures ?? 0) + 1 : 0;
    this.#kept.set(key, { answer, atMs: clock.wallMs(), failures });
    return answer;
  }

  async #find(command: string): Promise<string | undefined> {
    for (const folder of this.#options.searchPath.split(":")) {
      if (folder === "") continue;
      const path = join(folder, command);
      const stat = await this.#options.files.stat(path).catch(() => undefined);
      if (stat?.kind === "file" && (stat.mode & 0o111) !== 0) return path;
    }
    return undefined;
  }
}

function executionResult(answer: HelperAnswer): ExecutionResult {
  if (answer.kind === "found") return "success";
  if (answer.kind === "none") return "none";
  return answer.reason === "helper-timeout" ? "timeout" : "failure";
}

/** A helper's stdout may hold the secret, and so may its complaints: neither is ever quoted. */
function readAnswer(result: ProcessResult, nowMs: number): HelperAnswer {
  const failed = (reason: ReasonCode, detail: string) =>
    ({ kind: "failed", reason, detail }) as const;
  switch (result.kind) {
    case "not-started":
      return failed("helper-missing", `it could not be started: ${result.reason}`);
    case "timed-out":
      return failed("helper-timeout", "it did not end in time and was stopped");
    case "too-much-output":
      return failed("helper-invalid-response", "it printed more than the limit");
    case "exited":
      break;
  }
  if (result.code !== 0) {
    const said = result.stdout.trim();
    return said.endsWith(NOT_FOUND)
      ? { kind: "none", reason: "helper-not-found" }
      : failed("helper-failed", `it exited with code ${result.code}`);
  }
  let body: unknown;
  try {
    body = JSON.parse(result.stdout);
  } catch {
    return failed("helper-invalid-response", "it did not print JSON");
  }
  const username = isFields(body) ? body["Username"] : undefined;
  const secret = isFields(body) ? body["Secret"] : undefined;
  if (typeof username !== "string" || typeof secret !== "string") {
    return failed("helper-invalid-response", "it printed no Username and Secret");
  }
  if (secret === "") {
    return { kind: "none", reason: username === "" ? "anonymous-entry" : "incomplete-entry" };
  }
  const credential: Credential | undefined = username === "<token>"
    ? { kind: "identity-token", username: "", token: new Secret(secret) }
    : credentialFromPair(username, secret);
  if (credential === undefined) return { kind: "none", reason: "anonymous-entry" };
  return { kind: "found", credential, fetchedAtMs: nowMs };
}
