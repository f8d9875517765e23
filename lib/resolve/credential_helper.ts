import { isAbsolute, join } from "@std/path";
import {
  type Clock,
  type CredentialRequest,
  type ExecutionResult,
  type FileSystem,
  Gate,
  hardExpiryOf,
  type Observer,
  type ProcessRunner,
  type Random,
  Refusals,
} from "../model/mod.ts";
import { Backoff } from "./backoff.ts";
import { type HelperAnswer, readHelperAnswer } from "./credential_helper_answer.ts";
import { isNewEnough, isRefused, ROUND_MS } from "./freshness.ts";

/** An answer with the time of its question, and what is known of its life. */
export type TimedAnswer = HelperAnswer & {
  /** Wall time at which the helper was asked. */
  readonly fetchedAtMs: number;
  readonly hardExpiresAtMs?: number;
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
}

/** Our own name as a helper: asking it would be asking ourselves. */
const OURSELVES = "nydus-auth";
/** Set for helpers that we run: one that comes back to us by another name learns it by this. */
export const ASKED_BY_AGENT = "DOCKER_CREDENTIAL_NYDUS_AUTH_CALLED";
const MAX_STDOUT_BYTES = 1024 * 1024;
const MAX_PARALLEL = 8;
/** Helpers and servers that are remembered. */
const MAX_SUBJECTS = 1_024;
/** Looking whether a helper has been installed is cheap. */
const MISSING_MAX_MS = 10_000;

/** One helper asked about one server. */
interface Subject {
  readonly command: string;
  readonly server: string;
  readonly backoff: Backoff;
  /** When refusals caused executions. */
  readonly refusals: Refusals;
  /** How many have been started. */
  executions: number;
  kept?: TimedAnswer & { readonly atMonotonicMs: number };
  running?: Promise<TimedAnswer>;
}

/**
 * Runs docker credential helpers: one execution at a time per helper and server, shared by its
 * callers, kept for a while, backed off after failures.
 */
export class CredentialHelpers {
  readonly #options: CredentialHelpersOptions;
  readonly #subjects = new Map<string, Subject>();
  readonly #gate = new Gate(MAX_PARALLEL);
  readonly #stop = new AbortController();

  constructor(options: CredentialHelpersOptions) {
    this.#options = options;
  }

  /** What the helper `docker-credential-<name>` has for a server. Never rejects. */
  async get(name: string, server: string, request: CredentialRequest): Promise<TimedAnswer> {
    const nowMs = this.#options.clock.wallMs();
    if (name === OURSELVES) {
      return {
        kind: "none",
        reason: "helper-is-ourselves",
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

  /** Ends every helper that still runs. */
  stop(): void {
    this.#stop.abort(new DOMException("helpers stopped", "AbortError"));
  }

  async #ask(subject: Subject, request: CredentialRequest): Promise<TimedAnswer> {
    const { clock } = this.#options;
    const arrivedAfter = subject.executions;
    while (true) {
      const usable = this.#usable(subject, request);
      if (usable !== undefined && usable.kind !== "failed") return { ...usable, source: "kept" };
      if (subject.running === undefined) {
        const isForced = this.#isForced(subject, request);
        const kept = usable ?? (request.refused && subject.kept);
        if (kept === undefined || isForced) return await this.#start(subject);
        return { ...kept, source: "kept" };
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
  #isForced({ command, refusals }: Subject, { refused }: CredentialRequest): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    return refused !== undefined && refusals.mayForce(command, nowMs, refused);
  }

  #start(subject: Subject): Promise<TimedAnswer> {
    subject.executions++;
    subject.running = this.#gate.run(() => this.#run(subject))
      .finally(() => delete subject.running);
    return subject.running;
  }

  #subject(command: string, server: string): Subject {
    const key = `${command}\0${server}`;
    const known = this.#subjects.get(key);
    if (known !== undefined) return known;
    const [oldest] = this.#subjects.keys();
    if (this.#subjects.size >= MAX_SUBJECTS && oldest !== undefined) this.#subjects.delete(oldest);
    const subject: Subject = {
      command,
      server,
      backoff: new Backoff(this.#options),
      refusals: new Refusals(),
      executions: 0,
    };
    this.#subjects.set(key, subject);
    return subject;
  }

  #usable({ kept, backoff }: Subject, request: CredentialRequest): TimedAnswer | undefined {
    const { clock, refreshIntervalMs } = this.#options;
    if (kept === undefined) return undefined;
    if (kept.kind === "failed") {
      const remainingMs = backoff.remainingMs(request);
      if (remainingMs === 0) return undefined;
      return { ...kept, retryAtMs: clock.wallMs() + remainingMs };
    }
    const nowMs = clock.wallMs();
    const ageMs = Math.max(clock.monotonicMs() - kept.atMonotonicMs, nowMs - kept.fetchedAtMs);
    if (!isNewEnough(kept.fetchedAtMs, request, clock)) return undefined;
    if (kept.kind === "none") return ageMs < ROUND_MS ? kept : undefined;
    if (isRefused(kept, request)) return undefined;
    const { hardExpiresAtMs = Infinity } = kept;
    const outlives = hardExpiresAtMs > Math.max(nowMs, request.validUntilMs ?? nowMs);
    return ageMs < refreshIntervalMs && outlives ? kept : undefined;
  }

  async #run(subject: Subject): Promise<TimedAnswer> {
    const { clock, observer } = this.#options;
    const { command, backoff } = subject;
    const fetchedAtMs = clock.wallMs();
    const startedMs = clock.monotonicMs();
    const answer = await this.#execute(subject).catch((): HelperAnswer => {
      const detail = this.#stop.signal.aborted ? "the agent is stopping" : "it could not be run";
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
    if (answer.kind !== "failed") backoff.succeeded();
    else if (answer.reason === "helper-missing") backoff.failed(startedMs, MISSING_MAX_MS);
    else backoff.failed(startedMs);
    const life = answer.kind === "found" ? hardExpiryOf(answer.credential, fetchedAtMs) : {};
    const timed: TimedAnswer = {
      ...answer,
      fetchedAtMs,
      source: "executed",
      ...(life.expiresAtMs !== undefined && { hardExpiresAtMs: life.expiresAtMs }),
      ...(life.warning !== undefined && { warning: life.warning }),
      ...(answer.kind === "failed" && { retryAtMs: clock.wallMs() + backoff.remainingMs() }),
    };
    subject.kept = { ...timed, atMonotonicMs: clock.monotonicMs() };
    return timed;
  }

  async #execute({ command, server }: Subject): Promise<HelperAnswer> {
    const path = await this.#find(command);
    if (path === undefined) {
      return { kind: "failed", reason: "helper-missing", detail: "it is not on the PATH" };
    }
    return readHelperAnswer(
      await this.#options.processRunner.run({
        path,
        args: ["get"],
        env: { [ASKED_BY_AGENT]: "1" },
        stdin: server,
        timeoutMs: this.#options.timeoutMs,
        maxStdoutBytes: MAX_STDOUT_BYTES,
      }, { signal: this.#stop.signal }),
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

function executionResult(answer: HelperAnswer): ExecutionResult {
  if (answer.kind === "found") return "success";
  if (answer.kind === "none") return "none";
  return answer.reason === "helper-timeout" ? "timeout" : "failure";
}
