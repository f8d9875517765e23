import {
  AgentError,
  type AnswerDeadline,
  type Candidate,
  comparePatterns,
  type ConfigProblem,
  type CredentialProvider,
  type CredentialRequest,
  defined,
  type FileSystem,
  formatProblem,
  type ImageTarget,
  type ProviderNote,
  type ProviderOutcome,
  safeMessageOf,
  Semaphore,
  tryParseImageTarget,
  type ValidAccounts,
} from "../../model/mod.ts";
import {
  Plugin,
  type PluginEnvironment,
  type PluginOutcome,
  ServiceAccountPlugin,
} from "./plugin.ts";
import { openProviderConfig, type PluginDefinition } from "./provider_config.ts";

/** Dependencies and settings of {@linkcode KubeletProvider}. */
export interface KubeletProviderOptions extends Omit<PluginEnvironment, "semaphore"> {
  /** Path of the `CredentialProviderConfig`, or of a folder with several. */
  readonly configPath: string;
  readonly files: FileSystem;
  /** Limit of concurrent executions over all plugins. */
  readonly maxParallel: number;
  /** Bounds each plugin. @default no bound but the plugin's own timeout */
  readonly deadline?: AnswerDeadline;
  /**
   * The instance before a reload. If it has the same file and folder, its plugins stay until the
   * file changes, and their state as long as their definition does not.
   */
  readonly before?: KubeletProvider;
}

/** Result of reading the configuration. */
export type ReloadOutcome =
  | { readonly kind: "unchanged" }
  | { readonly kind: "loaded"; readonly warnings: readonly ConfigProblem[] }
  | { readonly kind: "refused"; readonly problems: readonly ConfigProblem[] };

/** Why the current configuration file cannot be used. */
interface Problem {
  readonly reason: "unreadable" | "no-config-file" | "invalid-config";
  readonly detail: string;
}

/**
 * Provides credentials from the kubelet's exec plugins: runs all plugins that match an image
 * concurrently and ranks their credentials by the most specific pattern.
 *
 * Invariants:
 * - Reloads run one after the other, and no request is served before the first one is complete.
 * - An invalid configuration never replaces the plugins of the last valid one.
 */
export class KubeletProvider implements CredentialProvider {
  readonly name = "kubelet";
  readonly renewable = true;
  readonly #options: KubeletProviderOptions;
  readonly #environment: PluginEnvironment;
  #plugins: readonly Plugin[] = [];
  /** Of the configuration files at the last reload. */
  #text: string | undefined;
  #problem: Problem | undefined;
  /** The last reload. Never rejects. */
  #reloading: Promise<ReloadOutcome> | undefined;

  constructor({ before, ...options }: KubeletProviderOptions) {
    this.#options = options;
    this.#environment = { ...options, semaphore: new Semaphore(options.maxParallel) };
    if (before === undefined) return;
    const { configPath, binDir } = before.#options;
    if (configPath !== options.configPath || binDir !== options.binDir) return;
    this.#plugins = before.#plugins.map((plugin) => this.#newPlugin(plugin.definition, plugin));
  }

  /**
   * Reads the configuration again if the file has changed. An invalid one is refused and the current
   * plugins stay; plugins with an unchanged definition keep their state.
   */
  reload(): Promise<ReloadOutcome> {
    return this.#reloading = (this.#reloading ?? Promise.resolve()).then(() => this.#reload());
  }

  async provide(request: CredentialRequest): Promise<ProviderOutcome> {
    await (this.#reloading ?? this.reload());
    const notes: ProviderNote[] = [];
    if (this.#problem !== undefined) {
      const { reason, detail } = this.#problem;
      if (this.#plugins.length === 0) {
        return reason === "no-config-file"
          ? { kind: "none", reason, notes }
          : { kind: "failed", reason, detail, notes };
      }
      const subject = this.#options.configPath;
      notes.push({ subject, reason, detail: `${detail}; the last valid one is used` });
    }
    const target = tryParseImageTarget(request.image.text);
    const outcomes = this.#plugins.map((plugin) =>
      target === undefined || !plugin.matches(target)
        ? plugin.notMatched()
        : this.#outcomeOf(plugin, request, target)
    );
    return combine(await Promise.all(outcomes), notes);
  }

  /** Returns within the deadline and never rejects: one plugin must not affect the others. */
  async #outcomeOf(
    plugin: Plugin,
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<PluginOutcome> {
    const { image, podImage = image } = request;
    const pending = plugin.provide(request, target).catch((error) =>
      plugin.failed("internal-error", `it failed unexpectedly (${safeMessageOf(error)})`)
    );
    return await this.#options.deadline?.wait(pending, {
      source: plugin.definition.name,
      image: podImage,
      isFailure: ({ failure }) => failure !== undefined,
      onTimeout: (detail) => plugin.failed("deadline-exceeded", detail),
    }) ?? await pending;
  }

  #newPlugin(definition: PluginDefinition, before?: Plugin): Plugin {
    const { tokenAttributes } = definition;
    return tokenAttributes === undefined
      ? new Plugin(definition, this.#environment, before)
      : new ServiceAccountPlugin({ ...definition, tokenAttributes }, this.#environment, before);
  }

  async #reload(): Promise<ReloadOutcome> {
    const { configPath, files } = this.#options;
    const textBefore = this.#text;
    this.#text = undefined;
    let reading: Awaited<ReturnType<typeof openProviderConfig>>;
    try {
      reading = await openProviderConfig(configPath, files);
    } catch (error) {
      const what = error instanceof AgentError ? error.message : "it cannot be read";
      return this.#refuse("unreadable", [problem(configPath, what, "make it readable")]);
    }
    if (reading === undefined) {
      const missing = problem(configPath, "it does not exist", "create it, or correct the path");
      return this.#refuse("no-config-file", [missing]);
    }
    const { problems, plugins, warnings, text } = reading;
    this.#text = text;
    if (text === textBefore) return { kind: "unchanged" };
    if (problems.length > 0) return this.#refuse("invalid-config", problems);
    this.#problem = undefined;
    const current = new Map(this.#plugins.map((one) => [JSON.stringify(one.definition), one]));
    this.#plugins = plugins.map((definition) =>
      current.get(JSON.stringify(definition)) ?? this.#newPlugin(definition)
    );
    return { kind: "loaded", warnings };
  }

  #refuse(reason: Problem["reason"], problems: readonly ConfigProblem[]): ReloadOutcome {
    this.#problem = { reason, detail: problems.map(formatProblem).join("; ") };
    return { kind: "refused", problems };
  }
}

function problem(file: string, what: string, remedy: string): ConfigProblem {
  return { file, place: "", problem: what, remedy };
}

/** Merges outcomes: most specific pattern first; of equal patterns, the first configured plugin. */
function combine(
  outcomes: readonly PluginOutcome[],
  before: readonly ProviderNote[],
): ProviderOutcome {
  const notes = [...before, ...outcomes.map(({ note }) => note)];
  const [best, ...others] = outcomes.flatMap(({ candidates }) => candidates)
    .sort((a, b) => comparePatterns(a.pattern ?? "", b.pattern ?? ""));
  if (best !== undefined) {
    const candidates: readonly [Candidate, ...Candidate[]] = [best, ...others];
    const winner = outcomes.find(({ note }) => note.subject === best.plugin);
    return { kind: "found", reason: winner?.note.reason ?? "found", candidates, notes };
  }
  const validAccounts = validAccountsOf(outcomes);
  const failed = outcomes.find(({ failure }) => failure !== undefined);
  if (failed?.failure !== undefined) {
    const retries = outcomes.flatMap(({ failure }) => failure?.retryAtMs ?? []);
    return {
      kind: "failed",
      reason: failed.note.reason,
      detail: failed.failure.detail,
      notes,
      ...defined({
        retryAtMs: retries.length > 0 ? Math.min(...retries) : undefined,
        validAccounts,
      }),
    };
  }
  const matched = outcomes.find(({ note }) => note.reason !== "plugin-not-matched");
  const reason = matched?.note.reason ?? "plugin-not-matched";
  return { kind: "none", reason, notes, ...defined({ validAccounts }) };
}

/** Returns the valid accounts of all plugins; unknown if one plugin does not know its own. */
function validAccountsOf(outcomes: readonly PluginOutcome[]): ValidAccounts | undefined {
  const all = outcomes.flatMap(({ validAccounts }) =>
    validAccounts === undefined ? [] : [validAccounts]
  );
  if (all.length === 0) return undefined;
  const known = all.filter((accounts) => accounts !== "unknown");
  return known.length < all.length ? "unknown" : known.flat();
}
