import { join } from "@std/path";
import {
  type Clock,
  type CredentialRequest,
  type ExecutionResult,
  type Gate,
  ImagePattern,
  type ImageReference,
  type ImageTarget,
  type Observer,
  type ProcessResult,
  type ProcessRunner,
  type Random,
  type ReasonCode,
} from "../model/mod.ts";
import { entryOf, matchEntry, PluginCache, type PluginEntry, scopeKey } from "./plugin_cache.ts";
import { type CacheKeyType, readPluginResponse } from "./plugin_response.ts";
import { PLUGIN_API_VERSION, type PluginDefinition } from "./provider_config.ts";

/** What plugins are run with; one for all of them. */
export interface PluginEnvironment {
  readonly binDir: string;
  readonly timeoutMs: number;
  readonly processRunner: ProcessRunner;
  readonly clock: Clock;
  readonly random: Random;
  readonly observer: Observer;
  /** Bounds how many run side by side, over all plugins. */
  readonly gate: Gate;
  readonly signal: AbortSignal;
}

/** What asking one plugin for one image came to. */
export type PluginAnswer =
  | { readonly kind: "entry"; readonly entry: PluginEntry; readonly reason: ReasonCode }
  | {
    readonly kind: "failed";
    readonly reason: ReasonCode;
    readonly detail: string;
    readonly retryAtMs?: number;
  };

/** Failures in a row, and until when nothing is tried. */
interface Backoff {
  readonly failures: number;
  readonly lastAtMs: number;
  readonly retryAtMs: number;
}

const MAX_STDOUT_BYTES = 1024 * 1024;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 5 * 60_000;
/** What a backoff is cut to while the credential in use is about to die. */
const URGENT_BACKOFF_MS = 5_000;
const MAX_BACKOFFS = 4_096;
/** Names the one execution that runs while the plugin's scope is unknown, or in doubt. */
const EXCLUSIVE = "*";

/**
 * One exec plugin: its answers, the executions under way, and its backoff.
 *
 * One execution at a time serves every caller of its scope. What the scope is, only an answer tells:
 * until there is one, and after a failure, a single execution runs and the others wait for it. So a
 * plugin that fails is run once a step, whatever the number of images.
 */
export class Plugin {
  readonly definition: PluginDefinition;
  readonly #patterns: readonly ImagePattern[];
  readonly #environment: PluginEnvironment;
  readonly #cache = new PluginCache();
  readonly #running = new Map<string, Promise<PluginAnswer>>();
  readonly #backoffs = new Map<string, Backoff>();
  /** Failures over all scopes, without a success in between. */
  #backoff: Backoff | undefined;
  #type: CacheKeyType | undefined;

  constructor(definition: PluginDefinition, environment: PluginEnvironment) {
    this.definition = definition;
    this.#environment = environment;
    this.#patterns = definition.matchImages.flatMap((pattern) => {
      try {
        return [ImagePattern.parse(pattern)];
      } catch {
        return []; // told when the configuration was read
      }
    });
  }

  /** Whether the plugin is to be asked for an image. */
  matches(target: ImageTarget): boolean {
    return this.#patterns.some((pattern) => pattern.matches(target));
  }

  /** Asks for an image; never rejects. */
  async ask(request: CredentialRequest, target: ImageTarget): Promise<PluginAnswer> {
    const { image } = request;
    const cached = this.#cache.find(image, (entry) => this.#serves(entry, request, target));
    if (cached !== undefined) return { kind: "entry", entry: cached, reason: "found-in-cache" };
    const askedAtMs = this.#environment.clock.wallMs();
    while (true) {
      const scope = this.#scope(image);
      const running = this.#running.get(scope) ?? this.#running.get(EXCLUSIVE);
      if (running === undefined) return await this.#start(scope, request);
      const answer = await running;
      if (answer.kind === "failed") return answer;
      // Theirs is ours only if it holds for this image too.
      const shared = this.#cache.find(image, (entry) => entry === answer.entry);
      const newEnough = answer.entry.fetchedAtMs > (request.newerThanMs ?? -Infinity);
      if (shared !== undefined && newEnough && answer.entry.fetchedAtMs >= askedAtMs) {
        return { ...answer, reason: "shared-execution" };
      }
      const other = this.#cache.find(image, (entry) => this.#serves(entry, request, target));
      if (other !== undefined) return { kind: "entry", entry: other, reason: "found-in-cache" };
    }
  }

  /** Whether an entry answers a request without another execution. */
  #serves(entry: PluginEntry, request: CredentialRequest, target: ImageTarget): boolean {
    const nowMs = this.#environment.clock.wallMs();
    if (nowMs >= entry.servesUntilMs || nowMs < entry.fetchedAtMs) return false;
    if (entry.fetchedAtMs <= (request.newerThanMs ?? -Infinity)) return false;
    const { validUntilMs } = request;
    if (validUntilMs === undefined) return true;
    return matchEntry(entry, target).candidates.every((candidate) => {
      const endsAtMs = candidate.hardExpiresAtMs ?? candidate.softExpiresAtMs;
      return endsAtMs === undefined || endsAtMs > validUntilMs;
    });
  }

  #scope(image: ImageReference): string {
    const doubtful = this.#type === undefined || this.#backoff !== undefined;
    return doubtful || this.#type === undefined ? EXCLUSIVE : scopeKey(this.#type, image);
  }

  async #start(scope: string, request: CredentialRequest): Promise<PluginAnswer> {
    const waiting = this.#backingOff(scope, request);
    if (waiting !== undefined) return waiting;
    const run = this.#environment.gate.run(async () => {
      // While it stood in line, another scope's failure may have told us to leave the plugin alone.
      return this.#backingOff(scope, request) ?? await this.#execute(scope, request.image);
    }).finally(() => this.#running.delete(scope));
    this.#running.set(scope, run);
    return await run;
  }

  #backingOff(scope: string, { urgent = false }: CredentialRequest): PluginAnswer | undefined {
    const nowMs = this.#environment.clock.wallMs();
    for (const backoff of [this.#backoff, this.#backoffs.get(scope)]) {
      if (backoff === undefined || nowMs < backoff.lastAtMs) continue;
      const retryAtMs = urgent
        ? Math.min(backoff.retryAtMs, backoff.lastAtMs + URGENT_BACKOFF_MS)
        : backoff.retryAtMs;
      if (nowMs >= retryAtMs) continue;
      const detail = `plugin ${this.definition.name} failed ${backoff.failures} times in a row`;
      return { kind: "failed", reason: "plugin-backing-off", detail, retryAtMs };
    }
    return undefined;
  }

  async #execute(scope: string, image: ImageReference): Promise<PluginAnswer> {
    const { binDir, timeoutMs, processRunner, clock, signal } = this.#environment;
    const { name, args, env, defaultCacheDurationMs } = this.definition;
    const startedMs = clock.monotonicMs();
    const stdin = JSON.stringify({
      kind: "CredentialProviderRequest",
      apiVersion: PLUGIN_API_VERSION,
      image: image.text,
    });
    let answer: PluginAnswer;
    let result: ExecutionResult = "failure";
    try {
      const path = join(binDir, name);
      const request = { path, args, env, stdin, timeoutMs, maxStdoutBytes: MAX_STDOUT_BYTES };
      const ended = await processRunner.run(request, { signal });
      answer = this.#read(ended, defaultCacheDurationMs, image);
      result = resultOf(answer, ended);
    } catch {
      answer = { kind: "failed", reason: "plugin-failed", detail: `plugin ${name} was stopped` };
    }
    if (answer.kind === "failed") answer = this.#failed(scope, answer);
    else this.#succeeded(scope);
    this.#environment.observer.notify({
      kind: "plugin-executed",
      provider: "kubelet",
      plugin: name,
      result,
      durationMs: clock.monotonicMs() - startedMs,
      ...(answer.kind === "failed" && { detail: answer.detail }),
    });
    return answer;
  }

  #read(ended: ProcessResult, defaultMs: number, image: ImageReference): PluginAnswer {
    const { name } = this.definition;
    const failed = (reason: ReasonCode, what: string) =>
      ({ kind: "failed", reason, detail: `plugin ${name}: ${what}` }) as const;
    switch (ended.kind) {
      case "not-started":
        return ended.reason === "missing"
          ? failed("plugin-missing", `it is not in ${this.#environment.binDir}`)
          : failed("plugin-not-executable", "it cannot be executed");
      case "timed-out":
        return failed("plugin-timeout", `stopped after ${this.#environment.timeoutMs / 1000} s`);
      case "too-much-output":
        return failed("plugin-too-much-output", `it printed more than ${MAX_STDOUT_BYTES} bytes`);
      case "exited":
        break;
    }
    // Its stderr may hold what it was given: the exit code is all that is passed on.
    if (ended.code !== 0) return failed("plugin-failed", `it exited with code ${ended.code}`);
    const reading = readPluginResponse(ended.stdout, defaultMs);
    if (reading.kind === "invalid") return failed("plugin-invalid-response", reading.detail);
    const { response } = reading;
    this.#type = response.cacheKeyType;
    const entry = entryOf(name, response, this.#environment.clock.wallMs());
    this.#cache.put(scopeKey(response.cacheKeyType, image), entry);
    return { kind: "entry", entry, reason: "found" };
  }

  #failed(scope: string, answer: PluginAnswer & { readonly kind: "failed" }): PluginAnswer {
    this.#backoff = this.#next(this.#backoff);
    if (this.#backoffs.size < MAX_BACKOFFS) {
      this.#backoffs.set(scope, this.#next(this.#backoffs.get(scope)));
    }
    return { ...answer, retryAtMs: this.#backoff.retryAtMs };
  }

  #succeeded(scope: string): void {
    this.#backoff = undefined;
    this.#backoffs.delete(scope);
    this.#backoffs.delete(EXCLUSIVE);
  }

  #next(before: Backoff | undefined): Backoff {
    const { clock, random } = this.#environment;
    const failures = (before?.failures ?? 0) + 1;
    const mostMs = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(failures - 1, 20), BACKOFF_MAX_MS);
    const lastAtMs = clock.wallMs();
    return { failures, lastAtMs, retryAtMs: lastAtMs + mostMs * (0.5 + random.next() / 2) };
  }
}

function resultOf(answer: PluginAnswer, ended: ProcessResult): ExecutionResult {
  if (ended.kind === "timed-out") return "timeout";
  if (answer.kind === "failed") return "failure";
  return answer.entry.auths === undefined ? "none" : "success";
}
