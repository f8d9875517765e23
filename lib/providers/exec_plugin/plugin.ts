import {
  type CredentialRequest,
  type ImageReference,
  type ImageTarget,
  type Random,
  type ReasonCode,
  Refusals,
  type Semaphore,
} from "../../model/mod.ts";
import { type Contribution, ExecPlugin } from "./exec_plugin.ts";
import { isNewEnough, isRefused, SHARED_EXECUTION_MS } from "../../model/mod.ts";
import { entryOf, matchEntry, PluginCache, type PluginEntry, scopeKey } from "./plugin_cache.ts";
import {
  executePlugin,
  type IdentitySource,
  type PluginExecutorOptions,
} from "./plugin_executor.ts";
import type { CacheKeyType } from "./plugin_response.ts";
import type { PluginDefinition } from "./provider_config.ts";
import { ScopedBackoff } from "../../model/mod.ts";

/** What plugins are run with; one for all of them. */
export interface PluginEnvironment extends PluginExecutorOptions {
  readonly random: Random;
  /** Bounds how many run side by side, over all plugins. */
  readonly gate: Semaphore;
}

/** What asking one plugin for one image came to. */
export type PluginAnswer =
  | {
    readonly kind: "entry";
    readonly entry: PluginEntry;
    readonly reason: "found" | "found-in-cache" | "shared-execution";
    /** What is odd about a fresh answer. */
    readonly warnings: readonly string[];
  }
  | {
    readonly kind: "failed";
    readonly reason: ReasonCode;
    readonly detail: string;
    /** Wall time before which the plugin is not executed again. */
    readonly retryAtMs?: number;
  };

/** An execution under way, or waiting for its place. */
interface Running {
  readonly execution: number;
  readonly answer: Promise<PluginAnswer>;
}

/** Names the one execution that runs while the plugin's scope is unknown, or in doubt. */
const EXCLUSIVE = "*";
/** Whether a plugin has been installed is cheap to find out. */
const NOT_STARTED_MAX_MS = 10_000;

/** What is known of a plugin: it outlives a reload that leaves the plugin's definition as it is. */
class PluginState {
  readonly cache = new PluginCache();
  readonly running = new Map<string, Running>();
  readonly backoff: ScopedBackoff;
  readonly reportedWarnings = new Set<string>();
  /** By scope: when refusals caused executions. */
  readonly refusals = new Refusals();
  /** What the last answer held for. */
  type: CacheKeyType | undefined;
  executions = 0;
  /** Why the last execution that failed did so. */
  lastFailure = "";

  constructor(environment: PluginEnvironment) {
    this.backoff = new ScopedBackoff(environment);
  }
}

/**
 * One exec plugin, run with one identity or none: its answers, the executions under way, and its
 * backoff.
 *
 * One execution at a time serves every caller of its scope. What the scope is, only an answer
 * tells: until there is one, and after a failure, a single execution runs and the others wait for
 * it. So a plugin that fails is run once a step, whatever the number of images.
 */
export class Plugin extends ExecPlugin {
  readonly #environment: PluginEnvironment;
  readonly #state: PluginState;

  /** @param before The same plugin before a reload: what is known of it stays. */
  constructor(definition: PluginDefinition, environment: PluginEnvironment, before?: Plugin) {
    super(definition);
    this.#environment = environment;
    this.#state = before === undefined ? new PluginState(environment) : before.#state;
  }

  /** @param identity In whose name the plugin is run, where that takes an execution. */
  override async contribute(
    request: CredentialRequest,
    target: ImageTarget,
    identity?: IdentitySource,
  ): Promise<Contribution> {
    const answer = await this.ask(request, target, identity);
    if (answer.kind === "failed") {
      const { reason, detail, retryAtMs } = answer;
      const failed = { detail, ...(retryAtMs !== undefined && { retryAtMs }) };
      return { ...this.none(reason, detail), failed };
    }
    const { entry, reason, warnings } = answer;
    const { candidates, anonymous } = matchEntry(entry, target);
    const none = entry.auths === undefined ? "plugin-no-credential" : "no-pattern-matched";
    const why = candidates.length > 0 ? reason : anonymous ?? none;
    return { ...this.none(why, warnings.join("; ")), candidates };
  }

  /** Returns the answer for an image, from the cache or a new execution. Never rejects. */
  async ask(
    request: CredentialRequest,
    target: ImageTarget,
    identity?: IdentitySource,
  ): Promise<PluginAnswer> {
    const { image } = request;
    const before = this.#state.executions;
    const fromCache = () => this.#cached(request, target, before);
    while (true) {
      const cached = fromCache();
      if (cached !== undefined) return cached;
      const running = this.#runningFor(image);
      if (running === undefined) {
        const isForced = this.#isForced(request);
        const last = request.refused && !isForced ? this.#last(image) : undefined;
        if (last !== undefined) return last;
        // What failed before the refusal is no reason to wait.
        const forcedAtMs = this.#environment.clock.monotonicMs();
        const forced = isForced ? { ...request, forcedAtMs } : request;
        return await this.#start(forced, fromCache, identity);
      }
      const answer = await running.answer;
      if (answer.kind === "failed") return answer;
      const { clock } = this.#environment;
      const holdsForUs = this.#state.cache.find(image, (entry) => entry === answer.entry);
      if (holdsForUs !== undefined && isNewEnough(answer.entry.fetchedAtMs, request, clock)) {
        return { ...answer, reason: "shared-execution", warnings: [] };
      }
    }
  }

  /** @param before The last execution before the request. */
  #cached(
    request: CredentialRequest,
    target: ImageTarget,
    before: number,
  ): PluginAnswer | undefined {
    const entry = this.#state.cache.find(request.image, (entry) =>
      // Begun after the request: nothing could be fresher, however short its lifetime.
      entry.execution > before || this.#serves(entry, request, target));
    if (entry === undefined) return undefined;
    const reason = entry.execution > before ? "shared-execution" : "found-in-cache";
    return { kind: "entry", entry, reason, warnings: [] };
  }

  /**
   * Whether a refusal may cause an execution for its scope now, past cache and backoff: one for
   * each step, whatever the number of images, mounts and callers. Remembers that it did.
   */
  #isForced({ image, refused }: CredentialRequest): boolean {
    if (refused === undefined) return false;
    const nowMs = this.#environment.clock.monotonicMs();
    return this.#state.refusals.mayForce(this.#scopeOf(image), nowMs, refused);
  }

  /** The last answer, however old. */
  #last(image: ImageReference): PluginAnswer | undefined {
    const entry = this.#state.cache.last(image);
    return entry && { kind: "entry", entry, reason: "found-in-cache", warnings: [] };
  }

  /** Whether an entry answers a request without another execution. */
  #serves(entry: PluginEntry, request: CredentialRequest, target: ImageTarget): boolean {
    const { clock } = this.#environment;
    const nowMs = clock.wallMs();
    const monotonicAgeMs = clock.monotonicMs() - entry.answeredAtMonotonicMs;
    const ageMs = Math.max(monotonicAgeMs, nowMs - entry.answeredAtMs);
    if (!isNewEnough(entry.fetchedAtMs, request, clock)) return false;
    const [best] = matchEntry(entry, target).candidates;
    if (best === undefined) return ageMs < SHARED_EXECUTION_MS;
    if (isRefused(best, request)) return false;
    const { refreshAtMs, expiresAtMs } = best;
    if (ageMs >= entry.servesMs || (expiresAtMs ?? Infinity) <= nowMs) return false;
    const { validUntilMs } = request;
    if (validUntilMs === undefined) return true;
    if ((expiresAtMs ?? refreshAtMs ?? -Infinity) > validUntilMs) return true;
    // Just fetched for a wish like this one: another execution would not live longer.
    const wantedUntilMs = entry.wantedUntilMs ?? -Infinity;
    return ageMs < SHARED_EXECUTION_MS && validUntilMs <= wantedUntilMs + SHARED_EXECUTION_MS;
  }

  /** The execution whose answer may hold for an image. */
  #runningFor(image: ImageReference): Running | undefined {
    const { running } = this.#state;
    return running.get(this.#scopeOf(image)) ?? running.get(EXCLUSIVE);
  }

  /** Which callers an execution for this image serves, as far as is known. */
  #scopeOf(image: ImageReference): string {
    const { type } = this.#state;
    return type === undefined ? EXCLUSIVE : scopeKey(type, image);
  }

  async #start(
    request: CredentialRequest,
    fromCache: () => PluginAnswer | undefined,
    identity: IdentitySource | undefined,
  ): Promise<PluginAnswer> {
    const { backoff, running } = this.#state;
    const scope = this.#scopeOf(request.image);
    const waiting = this.#backingOff(scope, request);
    if (waiting !== undefined) return waiting;
    const keys = backoff.isFailing ? [EXCLUSIVE, scope] : [scope];
    const execution = ++this.#state.executions;
    const answer = this.#environment.gate.run(async () => {
      // While it was queued, another scope's failure may have started a backoff, or its answer may
      // serve this request too.
      return this.#backingOff(scope, request) ?? fromCache() ??
        await this.#execute({ scope, execution, identity }, request);
    })
      // A defect in one plugin must not hide what the others answer.
      .catch((): PluginAnswer => ({
        kind: "failed",
        reason: "internal-error",
        detail: `plugin ${this.definition.name}: its answer could not be handled`,
      }))
      .finally(() => keys.forEach((key) => running.delete(key)));
    for (const key of keys) running.set(key, { execution, answer });
    return await answer;
  }

  /** The answer while the plugin is not executed for a scope; undefined when it may be. */
  #backingOff(scope: string, request: CredentialRequest): PluginAnswer | undefined {
    const { backoff, lastFailure } = this.#state;
    const remainingMs = backoff.remainingMs(scope, request);
    if (remainingMs === 0) return undefined;
    const failures = backoff.failures(scope);
    const times = failures === 1 ? "once" : `${failures} times in a row`;
    return {
      kind: "failed",
      reason: "plugin-backing-off",
      detail: `plugin ${this.definition.name}: it failed ${times} and is not run again yet; ` +
        `the last time: ${lastFailure}`,
      retryAtMs: this.#environment.clock.wallMs() + remainingMs,
    };
  }

  async #execute(
    { scope, execution, identity }: {
      readonly scope: string;
      readonly execution: number;
      readonly identity: IdentitySource | undefined;
    },
    { image, validUntilMs, waiting }: CredentialRequest,
  ): Promise<PluginAnswer> {
    const { clock } = this.#environment;
    const { backoff, cache } = this.#state;
    const { name } = this.definition;
    const fetchedAtMs = clock.wallMs();
    const startedAtMs = clock.monotonicMs();
    const outcome = await executePlugin(this.definition, image, this.#environment, identity);
    if (outcome.kind === "failed") {
      const { reason, detail } = outcome;
      const isStarted = reason !== "plugin-missing" && reason !== "plugin-not-executable";
      const maxMs = isStarted ? undefined : NOT_STARTED_MAX_MS;
      backoff.failed(scope === EXCLUSIVE ? undefined : scope, startedAtMs, maxMs);
      this.#state.lastFailure = `${reason}: ${detail}`;
      const retryAtMs = clock.wallMs() + backoff.remainingMs(scope, waiting ? { waiting } : {});
      return { kind: "failed", reason, detail: `plugin ${name}: ${detail}`, retryAtMs };
    }
    const { cacheKeyType } = outcome.response;
    backoff.succeeded(scope);
    this.#state.type = cacheKeyType;
    const { entry, warnings } = entryOf(name, outcome.response, {
      execution,
      fetchedAtMs,
      answeredAtMs: clock.wallMs(),
      answeredAtMonotonicMs: clock.monotonicMs(),
      ...(validUntilMs !== undefined && { wantedUntilMs: validUntilMs }),
    });
    cache.put(cacheKeyType, image, entry);
    return { kind: "entry", entry, reason: "found", warnings: this.#warnOnce(warnings) };
  }

  /** Reports each warning once, and returns the new ones. */
  #warnOnce(warnings: readonly string[]): readonly string[] {
    const { reportedWarnings } = this.#state;
    const news = warnings.filter((warning) => !reportedWarnings.has(warning));
    for (const warning of news) {
      reportedWarnings.add(warning);
      const text = `plugin ${this.definition.name}: ${warning}`;
      this.#environment.observer.notify({ kind: "warning", code: "plugin-answer", text });
    }
    return news;
  }
}
