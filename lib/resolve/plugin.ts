import {
  type CredentialRequest,
  type Gate,
  ImagePattern,
  type ImageReference,
  type ImageTarget,
  type Random,
  Refusals,
  type Soon,
} from "../model/mod.ts";
import { AnswerGroups, WITHIN_REGISTRY, WITHIN_REPOSITORY } from "./answer_groups.ts";
import { isNewEnough, isRefused, ROUND_MS } from "./freshness.ts";
import {
  contentOf,
  entryOf,
  LastMatch,
  PluginCache,
  type PluginEntry,
  scopeKey,
} from "./plugin_cache.ts";
import { PluginBackoffs, type PluginFailed } from "./plugin_backoffs.ts";
import { executePlugin, type PluginExecutorOptions } from "./plugin_executor.ts";
import type { CacheKeyType } from "./plugin_response.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** What plugins are run with; one for all of them. */
export interface PluginEnvironment extends PluginExecutorOptions {
  readonly random: Random;
  /** Bounds how many run side by side, over all plugins. */
  readonly gate: Gate;
  /** How long an answer without a clock of its own serves images that are seen to share it. */
  readonly refreshIntervalMs: number;
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
  | PluginFailed;

/** An execution under way, or waiting for its place. */
interface Running {
  readonly execution: number;
  readonly answer: Promise<PluginAnswer>;
}

/** How a question goes that no answer at hand serves. */
interface Asking {
  /** The image is asked for itself, to see whether it really shares its answer. */
  readonly trial: boolean;
  /** An answer that has come meanwhile. */
  readonly fromCache: () => PluginAnswer | undefined;
}

/** Names the one execution that runs while the plugin's scope is unknown, or in doubt. */
const EXCLUSIVE = "*";

/**
 * One exec plugin: its answers, the executions under way, and its backoff.
 *
 * One execution at a time serves every caller of its scope. What the scope is, only an answer
 * tells: until there is one, and after a failure, a single execution runs and the others wait for
 * it. So a plugin that fails is run once a step, whatever the number of images.
 */
export class Plugin {
  readonly definition: PluginDefinition;
  /** What its answers give for images. */
  readonly lastMatch = new LastMatch();
  readonly #patterns: readonly ImagePattern[];
  readonly #environment: PluginEnvironment;
  readonly #cache = new PluginCache();
  readonly #running = new Map<string, Running>();
  readonly #backoffs: PluginBackoffs;
  readonly #told = new Set<string>();
  /** By what of an image answers that are said to hold for it alone may be shared. */
  readonly #groups: ReadonlyMap<"Registry" | "Repository", AnswerGroups>;
  /** By scope: when refusals caused executions. */
  readonly #refusals = new Refusals();
  #type: CacheKeyType | undefined;
  #executions = 0;

  constructor(definition: PluginDefinition, environment: PluginEnvironment) {
    this.definition = definition;
    this.#environment = environment;
    this.#backoffs = new PluginBackoffs(definition.name, environment);
    this.#groups = new Map([
      ["Registry", new AnswerGroups(environment.clock, WITHIN_REGISTRY)],
      ["Repository", new AnswerGroups(environment.clock, WITHIN_REPOSITORY)],
    ]);
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
  ask(request: CredentialRequest, target: ImageTarget): Soon<PluginAnswer> {
    return this.#cached(request, target, this.#executions) ?? this.#ask(request, target);
  }

  /** @param before The last execution before the question. */
  #cached(
    request: CredentialRequest,
    target: ImageTarget,
    before: number,
  ): PluginAnswer | undefined {
    const entry = this.#cache.find(request.image, (entry) =>
      // Begun after the question: nothing could be fresher, however short it lives.
      entry.execution > before || this.#serves(entry, request, target));
    if (entry === undefined) return undefined;
    const reason = entry.execution > before ? "shared-execution" : "found-in-cache";
    return { kind: "entry", entry, reason, warnings: [] };
  }

  /** Where the cache has nothing that serves. */
  async #ask(request: CredentialRequest, target: ImageTarget): Promise<PluginAnswer> {
    const { image } = request;
    const before = this.#executions;
    const fromCache = () => this.#cached(request, target, before);
    while (true) {
      const running = this.#runningFor(image);
      if (running === undefined) {
        const isForced = this.#isForced(request);
        const atHand = request.refused && !isForced ? this.#atHand(image) : undefined;
        if (atHand !== undefined) return atHand;
        // What failed before the refusal is no reason to wait.
        const forcedAtMs = this.#environment.clock.monotonicMs();
        return await this.#start(isForced ? { ...request, forcedAtMs } : request, {
          trial: this.#isTrial(request),
          fromCache,
        });
      }
      const answer = await running.answer;
      if (answer.kind === "failed") return answer;
      const holdsForUs = this.#cache.find(image, (entry) => entry === answer.entry) !== undefined;
      if (holdsForUs && isNewEnough(answer.entry.fetchedAtMs, request, this.#environment.clock)) {
        return { ...answer, reason: "shared-execution", warnings: [] };
      }
      const cached = fromCache();
      if (cached !== undefined) return cached;
    }
  }

  /**
   * Whether a refusal may cause an execution for its scope now, past cache and backoff: one for
   * each step, whatever the number of images, mounts and callers. Remembers that it did.
   */
  #isForced({ image, refused }: CredentialRequest): boolean {
    const nowMs = this.#environment.clock.monotonicMs();
    return refused !== undefined && this.#refusals.mayForce(this.#scopeOf(image), nowMs, refused);
  }

  /** The last answer, however old. */
  #atHand(image: ImageReference): PluginAnswer | undefined {
    const entry = this.#cache.last(image);
    return entry && { kind: "entry", entry, reason: "found-in-cache", warnings: [] };
  }

  /** Whether a refused image is asked for itself, to see whether it really shares its answer. */
  #isTrial({ image, refused }: CredentialRequest): boolean {
    const shared = this.#sharedBy(image);
    return refused !== undefined && shared !== undefined &&
      this.#groups.get(shared)?.mayTry(image) === true;
  }

  /** Whether an entry answers a request without another execution. */
  #serves(entry: PluginEntry, request: CredentialRequest, target: ImageTarget): boolean {
    const { clock } = this.#environment;
    const nowMs = clock.wallMs();
    const monotonicAgeMs = clock.monotonicMs() - entry.fetchedAtMonotonicMs;
    const ageMs = Math.max(monotonicAgeMs, nowMs - entry.fetchedAtMs);
    if (!isNewEnough(entry.fetchedAtMs, request, clock)) return false;
    const [best] = this.lastMatch.of(entry, target).candidates;
    if (best === undefined) return ageMs < ROUND_MS;
    if (isRefused(best, request)) return false;
    const { softExpiresAtMs, hardExpiresAtMs } = best;
    if (ageMs >= entry.servesMs || (hardExpiresAtMs ?? Infinity) <= nowMs) return false;
    const { validUntilMs } = request;
    if (validUntilMs === undefined) return true;
    if ((hardExpiresAtMs ?? softExpiresAtMs ?? -Infinity) > validUntilMs) return true;
    // Just fetched for a wish like this one: another execution would not live longer.
    const wantedUntilMs = entry.wantedUntilMs ?? -Infinity;
    return ageMs < ROUND_MS && validUntilMs <= wantedUntilMs + ROUND_MS;
  }

  /** The execution whose answer may hold for an image. */
  #runningFor(image: ImageReference): Running | undefined {
    return this.#running.get(this.#scopeOf(image)) ?? this.#running.get(EXCLUSIVE);
  }

  /** Which callers an execution for this image serves, as far as is known. */
  #scopeOf(image: ImageReference): string {
    if (this.#type === undefined) return EXCLUSIVE;
    return scopeKey(this.#type === "Image" ? this.#sharedBy(image) ?? "Image" : this.#type, image);
  }

  /** Between whom the answers for an image are seen to be the same. */
  #sharedBy(image: ImageReference): "Registry" | "Repository" | undefined {
    for (const [type, groups] of this.#groups) if (groups.shares(image)) return type;
    return undefined;
  }

  async #start(request: CredentialRequest, { trial, fromCache }: Asking): Promise<PluginAnswer> {
    const { gate } = this.#environment;
    const scope = trial ? scopeKey("Image", request.image) : this.#scopeOf(request.image);
    const waiting = this.#backoffs.backingOff(scope, request);
    if (waiting !== undefined) return waiting;
    const keys = this.#backoffs.isFailing ? [EXCLUSIVE, scope] : [scope];
    const execution = ++this.#executions;
    const answer = gate.run(async () => {
      // While it stood in line, another scope's failure may have told us to leave the plugin alone,
      // or its answer that it serves us too.
      return this.#backoffs.backingOff(scope, request) ?? (trial ? undefined : fromCache()) ??
        await this.#execute({ scope, execution, trial }, request);
    })
      // A fault of our own in one plugin must not hide what the others answer.
      .catch((): PluginAnswer => ({
        kind: "failed",
        reason: "internal-error",
        detail: `plugin ${this.definition.name}: its answer could not be handled`,
      }))
      .finally(() => keys.forEach((key) => this.#running.delete(key)));
    for (const key of keys) this.#running.set(key, { execution, answer });
    return await answer;
  }

  async #execute(
    { scope, execution, trial }: {
      readonly scope: string;
      readonly execution: number;
      readonly trial: boolean;
    },
    { image, validUntilMs, waiting }: CredentialRequest,
  ): Promise<PluginAnswer> {
    const { clock } = this.#environment;
    const { name } = this.definition;
    const fetchedAtMs = clock.wallMs();
    const fetchedAtMonotonicMs = clock.monotonicMs();
    const outcome = await executePlugin(this.definition, image, this.#environment);
    if (outcome.kind === "failed") {
      const { reason, detail } = outcome;
      const failure = { startedAtMs: fetchedAtMonotonicMs, reason, detail };
      this.#backoffs.failed(scope === EXCLUSIVE ? undefined : scope, failure);
      const retryAtMs = clock.wallMs() + this.#backoffs.remainingMs(waiting ? { waiting } : {});
      return { kind: "failed", reason, detail: `plugin ${name}: ${detail}`, retryAtMs };
    }
    const { cacheKeyType } = outcome.response;
    this.#backoffs.succeeded(scope);
    this.#type = cacheKeyType;
    const asking = {
      execution,
      fetchedAtMs,
      fetchedAtMonotonicMs,
      ...(validUntilMs !== undefined && { wantedUntilMs: validUntilMs }),
    };
    const { entry, warnings } = entryOf(name, outcome.response, asking);
    this.#cache.put(cacheKeyType, image, entry);
    if (cacheKeyType === "Image") this.#share(image, entry, trial);
    return { kind: "entry", entry, reason: "found", warnings: this.#tellOnce(warnings) };
  }

  /** Lets an image's answer serve its registry, once the answers are seen to be the same. */
  #share(image: ImageReference, entry: PluginEntry, trial: boolean): void {
    const content = contentOf(entry);
    if (content === undefined) return;
    for (const [type, groups] of this.#groups) {
      groups.learn(image, content, trial);
      const servesMs = Math.max(entry.servesMs, this.#environment.refreshIntervalMs);
      if (groups.shares(image)) this.#cache.put(type, image, { ...entry, servesMs });
      else this.#cache.drop(type, image);
    }
  }

  /** A plugin is as it is: each oddity is told once. */
  #tellOnce(warnings: readonly string[]): readonly string[] {
    const news = warnings.filter((warning) => !this.#told.has(warning));
    for (const warning of news) {
      this.#told.add(warning);
      const text = `plugin ${this.definition.name}: ${warning}`;
      this.#environment.observer.notify({ kind: "warning", code: "plugin-answer", text });
    }
    return news;
  }
}
