import { isAbsolute, join } from "@std/path";
import {
  type Clock,
  type CredentialRequest,
  type ExecutionResult,
  type FileSystem,
  type Observer,
  type ProcessRunner,
  type Random,
  Refusals,
  Semaphore,
  tokenExpiryOf,
} from "../../model/mod.ts";
import { type HelperAnswer, readHelperAnswer } from "./credential_helper_answer.ts";
import { isNewEnough, isRefused, SHARED_EXECUTION_MS } from "../../model/mod.ts";
import { ScopedBackoff } from "../../model/mod.ts";

/** An answer with the time of its question, and what is known of its life. */
export type TimedAnswer = HelperAnswer & {
  /** Wall time at which the helper was asked. */
  readonly fetchedAtMs: number;
  readonly expiresAtMs?: number;
  /** Why a time that the credential tells was not believed. */
  readonly warning?: string;
  /** Of a failure: wall time before which the helper is not run again. */
  readonly retryAtMs?: number;
  readonly source: "executed" | "shared" | "kept";
};

/** What running helpers takes. */
export interface CredentialHelpersOptions {
  readonly processRunner: ProcessRunner;
  readonly files: FileSystem;
  readonly clock: Clock;
  /** Spreads the pauses after failures. */
  readonly random?: Random;
  readonly observer: Observer;
  /** The environment's `PATH`. */
  readonly searchPath: string;
  readonly timeoutMs: number;
  /** How long a found credential is kept before its helper is asked again. */
  readonly refreshIntervalMs: number;
  /** Ends the helpers that still run. */
  readonly signal: AbortSignal;
  /** Those before a reload: their answers and pauses stay. */
  readonly before?: CredentialHelpers;
}

/** Our own name as a helper: asking it would be asking ourselves. */
const OURSELVES = "nydus-auth";
/** Set for helpers that we run: one that comes back to us by another name learns it by this. */
export const CALLED_BY_AGENT = "DOCKER_CREDENTIAL_NYDUS_AUTH_ASKED";
const MAX_STDOUT_BYTES = 1024 * 1024;
const MAX_PARALLEL_PER_HELPER = 4;
/** Helpers and servers that are remembered. */
const MAX_SUBJECTS = 1_024;
/** Looking whether a helper has been installed is cheap. */
const MISSING_MAX_MS = 10_000;

/** One helper: its pauses after failures cover all servers. */
interface Helper {
  readonly command: string;
  readonly backoff: ScopedBackoff;
  /** Executions of one helper side by side: one that hangs takes no other's place. */
  readonly gate: Semaphore;
  lastFailure?: HelperAnswer & { readonly kind: "failed" };
}

/** One helper asked about one server. */
interface Subject {
  readonly helper: Helper;
  readonly server: string;
  /** When refusals caused executions. */
  readonly refusals: Refusals;
  /** How many have been started. */
  executions: number;
  /** The last answer that was no failure, and when it came (wall and monotonic). */
  kept?: TimedAnswer & { readonly answeredAtMs: number; readonly answeredAtMonotonicMs: number };
  running?: Promise<TimedAnswer>;
}

/**
 * Runs docker credential helpers: one execution at a time per helper and server, shared by its
 * callers, kept for a while, backed off after failures.
 */
export class CredentialHelpers {
  readonly #options: CredentialHelpersOptions;
  readonly #helpers: Map<string, Helper>;
  readonly #subjects: Map<string, Subject>;

  constructor({ before, ...options }: CredentialHelpersOptions) {
    this.#options = options; // without the one before, which would keep all before it
    this.#helpers = before === undefined ? new Map() : before.#helpers;
    this.#subjects = before === undefined ? new Map() : before.#subjects;
  }

  /** What the helper `docker-credential-<name>` has for a server. Never rejects. */
  async get(name: string, server: string, request: CredentialRequest): Promise<TimedAnswer> {
    const nowMs = this.#options.clock.wallMs();
    if (name === OURSELVES) {
      return {
        kind: "none",
        reason: "helper-is-agent",
        fetchedAtMs: nowMs,
        source: "kept",
      };
    }
    if (/[/\\\0]/.test(name)) {
      const detail = "its name in the configuration is no file name";
      const source = "kept";
      return { kind: "failed", reason: "helper-missing", detail, fetchedAtMs: nowMs, source };
    }
    return await this.#ask(this.#subject(`docker-credential-${name}`, server), request);
  }

  async #ask(subject: Subject, request: CredentialRequest): Promise<TimedAnswer> {
    const { clock } = this.#options;
    const arrivedAfter = subject.executions;
    while (true) {
      const usable = this.#usable(subject, request);
      if (usable !== undefined) return { ...usable, source: "kept" };
      if (subject.running === undefined) {
        if (this.#isForced(subject, request)) return await this.#start(subject);
        const failure = this.#backingOff(subject, request);
        if (failure !== undefined) return failure;
        if (request.refused && subject.kept) return { ...subject.kept, source: "kept" };
        return await this.#start(subject, request);
      }
      // One that began after the question is as new as an answer can be; an older one may not be.
      const fresh = subject.executions > arrivedAfter;
      const answer = await subject.running;
      if (answer.kind === "failed" || fresh || isNewEnough(answer.fetchedAtMs, request, clock)) {
        return { ...answer, source: "shared" };
      }
    }
  }

  /**
   * Whether a refusal may cause an execution now, past what is kept and past the backoff: one for
   * each step. Otherwise what is kept is the answer, however old. Remembers that it did.
   */
  #isForced({ helper, refusals }: Subject, { refused }: CredentialRequest): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    return refused !== undefined && refusals.mayForce(helper.command, nowMs, refused);
  }

  /** @param request Given where a backoff that began while it was queued is an answer. */
  #start(subject: Subject, request?: CredentialRequest): Promise<TimedAnswer> {
    subject.executions++;
    subject.running = subject.helper.gate.run(async () => {
      const failure = request && this.#backingOff(subject, request);
      return failure ?? await this.#run(subject);
    }).finally(() => delete subject.running);
    return subject.running;
  }

  #subject(command: string, server: string): Subject {
    const helper = valueAt(this.#helpers, command, () => ({
      command,
      backoff: new ScopedBackoff(this.#options),
      gate: new Semaphore(MAX_PARALLEL_PER_HELPER),
    }));
    return valueAt(this.#subjects, `${command}\0${server}`, () => ({
      helper,
      server,
      refusals: new Refusals(),
      executions: 0,
    }));
  }

  /** The answer while a helper is not run; undefined when it may be. */
  #backingOff({ helper, server }: Subject, request: CredentialRequest): TimedAnswer | undefined {
    const { backoff, lastFailure } = helper;
    const remainingMs = backoff.remainingMs(server, request);
    if (remainingMs === 0 || lastFailure === undefined) return undefined;
    const nowMs = this.#options.clock.wallMs();
    return { ...lastFailure, fetchedAtMs: nowMs, retryAtMs: nowMs + remainingMs, source: "kept" };
  }

  #usable({ kept }: Subject, request: CredentialRequest): TimedAnswer | undefined {
    const { clock, refreshIntervalMs } = this.#options;
    if (kept === undefined || !isNewEnough(kept.fetchedAtMs, request, clock)) return undefined;
    const nowMs = clock.wallMs();
    const monotonicAgeMs = clock.monotonicMs() - kept.answeredAtMonotonicMs;
    const ageMs = Math.max(monotonicAgeMs, nowMs - kept.answeredAtMs);
    if (kept.kind !== "found") return ageMs < SHARED_EXECUTION_MS ? kept : undefined;
    if (isRefused(kept, request)) return undefined;
    const { expiresAtMs = Infinity } = kept;
    const outlives = expiresAtMs > Math.max(nowMs, request.validUntilMs ?? nowMs);
    return ageMs < refreshIntervalMs && outlives ? kept : undefined;
  }

  async #run(subject: Subject): Promise<TimedAnswer> {
    const { clock, observer, signal } = this.#options;
    const { helper, server } = subject;
    const { command, backoff } = helper;
    const fetchedAtMs = clock.wallMs();
    const startedMs = clock.monotonicMs();
    const answer = await this.#execute(subject).catch((): HelperAnswer => {
      const detail = signal.aborted ? "the agent is stopping" : "it could not be run";
      return { kind: "failed", reason: "helper-failed", detail };
    });
    observer.notify({
      kind: "plugin-executed",
      provider: "docker",
      plugin: command,
      result: executionResult(answer),
      durationMs: clock.monotonicMs() - startedMs,
      ...(answer.kind === "failed" && { detail: answer.detail }),
    });
    if (answer.kind === "failed") {
      helper.lastFailure = answer;
      backoff.failed(
        server,
        startedMs,
        answer.reason === "helper-missing" ? MISSING_MAX_MS : undefined,
      );
      const retryAtMs = clock.wallMs() + backoff.remainingMs(server, {});
      return { ...answer, fetchedAtMs, source: "executed", retryAtMs };
    }
    backoff.succeeded(server);
    const lifetime = answer.kind === "found" ? tokenExpiryOf(answer.credential, fetchedAtMs) : {};
    const timed: TimedAnswer = {
      ...answer,
      fetchedAtMs,
      source: "executed",
      ...(lifetime.expiresAtMs !== undefined && { expiresAtMs: lifetime.expiresAtMs }),
      ...(lifetime.warning !== undefined && { warning: lifetime.warning }),
    };
    const answeredAt = {
      answeredAtMs: clock.wallMs(),
      answeredAtMonotonicMs: clock.monotonicMs(),
    };
    subject.kept = { ...timed, ...answeredAt };
    return timed;
  }

  async #execute({ helper, server }: Subject): Promise<HelperAnswer> {
    const path = await this.#find(helper.command);
    if (path === undefined) {
      return { kind: "failed", reason: "helper-missing", detail: "it is not on the PATH" };
    }
    return readHelperAnswer(
      await this.#options.processRunner.run({
        path,
        args: ["get"],
        env: { [CALLED_BY_AGENT]: "1" },
        stdin: server,
        timeoutMs: this.#options.timeoutMs,
        maxStdoutBytes: MAX_STDOUT_BYTES,
      }, { signal: this.#options.signal }),
    );
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

/** The value of a key, made where there is none; beyond the limit the oldest is dropped. */
function valueAt<T>(map: Map<string, T>, key: string, make: () => T): T {
  const known = map.get(key);
  if (known !== undefined) return known;
  const [oldest] = map.keys();
  if (map.size >= MAX_SUBJECTS && oldest !== undefined) map.delete(oldest);
  const value = make();
  map.set(key, value);
  return value;
}

function executionResult(answer: HelperAnswer): ExecutionResult {
  if (answer.kind === "found") return "success";
  if (answer.kind === "none") return "none";
  return answer.reason === "helper-timeout" ? "timeout" : "failure";
}
