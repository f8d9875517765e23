import {
  AgentError,
  allKnown,
  type CallOptions,
  type Candidate,
  comparePatterns,
  type ConfigProblem,
  type CredentialProvider,
  type CredentialRequest,
  type FileSystem,
  formatProblem,
  Gate,
  type ProviderNote,
  type ProviderOutcome,
  type Soon,
  type Standing,
  whenKnown,
} from "../model/mod.ts";
import { AccountPlugin } from "./account_plugin.ts";
import { Plugin, type PluginEnvironment } from "./plugin.ts";
import { type Contribution, contribution, notMatched } from "./plugin_contribution.ts";
import type { PodAccounts } from "./pod_accounts.ts";
import {
  findProviderConfig,
  openProviderConfig,
  type PluginDefinition,
  type ProviderConfigReading,
} from "./provider_config_file.ts";
import { abortable } from "./abortable.ts";
import { targetOf } from "./target_of.ts";

/** What the kubelet provider reads and runs. */
export interface KubeletProviderOptions extends Omit<PluginEnvironment, "gate" | "signal"> {
  /** The `CredentialProviderConfig`, or a folder of them. */
  readonly configPath: string;
  readonly files: FileSystem;
  /** Executions side by side, over all plugins. */
  readonly maxParallel: number;
  /** For plugins that want tokens of service accounts; asked for when the first of them is. */
  readonly accounts?: () => Promise<PodAccounts>;
  /** The one before a reload: its plugins stay while the same file cannot be used. */
  readonly before?: KubeletProvider;
}

/** A plugin, run in its own name or in those of service accounts. */
type AnyPlugin = Plugin | AccountPlugin;

/** How a look at the configuration went. */
export type ReloadOutcome =
  | { readonly kind: "unchanged" }
  | { readonly kind: "loaded"; readonly warnings: readonly ConfigProblem[] }
  | { readonly kind: "refused"; readonly problems: readonly ConfigProblem[] };

/** What is wrong with the configuration file as it is now. */
interface Trouble {
  readonly reason: "unreadable" | "no-config-file" | "invalid-config";
  readonly detail: string;
}

/** The kubelet's exec plugins, asked side by side; the most specific pattern wins. */
export class KubeletProvider implements CredentialProvider {
  readonly name = "kubelet";
  readonly renewable = true;
  readonly #options: KubeletProviderOptions;
  readonly #environment: PluginEnvironment;
  readonly #stop = new AbortController();
  #plugins: readonly AnyPlugin[] = [];
  #stamp: string | undefined;
  #trouble: Trouble | undefined;
  #isLoaded = false;
  #reloading: Promise<unknown> | undefined;

  constructor({ before, ...options }: KubeletProviderOptions) {
    this.#options = options;
    const gate = new Gate(options.maxParallel);
    this.#environment = { ...options, gate, signal: this.#stop.signal };
    if (before === undefined || before.#options.configPath !== options.configPath) return;
    this.#plugins = before.#plugins.map(({ definition }) => this.#plugin(definition));
  }

  /**
   * Reads the configuration again if the file has changed. One that cannot be used is refused, and
   * the plugins that are there go on; a plugin whose definition stays keeps what it knows.
   */
  async reload(): Promise<ReloadOutcome> {
    const reload = (this.#reloading ?? Promise.resolve()).then(() => this.#reload());
    this.#reloading = reload;
    try {
      return await reload;
    } finally {
      this.#isLoaded = true;
      if (this.#reloading === reload) this.#reloading = undefined;
    }
  }

  provide(request: CredentialRequest, { signal }: CallOptions = {}): Soon<ProviderOutcome> {
    const reloading = this.#reloading ?? (this.#isLoaded ? undefined : this.reload());
    const answer = reloading?.then(() => this.#provide(request)) ?? this.#provide(request);
    return abortable(answer, signal);
  }

  #provide(request: CredentialRequest): Soon<ProviderOutcome> {
    const notes: ProviderNote[] = [];
    if (this.#trouble !== undefined) {
      const { reason, detail } = this.#trouble;
      if (this.#plugins.length === 0) {
        return reason === "no-config-file"
          ? { kind: "none", reason, notes }
          : { kind: "failed", reason, detail, notes };
      }
      const subject = this.#options.configPath;
      notes.push({ subject, reason, detail: `${detail}; the last good one is used` });
    }
    const target = targetOf(request);
    const asked = this.#plugins.map((plugin): Soon<Contribution> => {
      if (target === undefined || !plugin.matches(target)) return notMatched(plugin);
      if (plugin instanceof AccountPlugin) return plugin.contribute(request, target);
      return whenKnown(plugin.ask(request, target), (answer) => {
        return contribution(plugin, answer, target);
      });
    });
    return whenKnown(allKnown(asked), (asked) => combine(asked, notes));
  }

  /** Ends every plugin that still runs. */
  stop(): void {
    this.#stop.abort(new DOMException("plugins stopped", "AbortError"));
  }

  #plugin(definition: PluginDefinition): AnyPlugin {
    const said = JSON.stringify(definition);
    const known = this.#plugins.find((plugin) => JSON.stringify(plugin.definition) === said);
    if (known !== undefined) return known;
    const { tokenAttributes } = definition;
    return tokenAttributes === undefined
      ? new Plugin(definition, this.#environment)
      : new AccountPlugin(definition, tokenAttributes, {
        ...this.#environment,
        accounts: this.#options.accounts,
      });
  }

  async #reload(): Promise<ReloadOutcome> {
    const { configPath, files } = this.#options;
    let reading: ProviderConfigReading | undefined;
    try {
      const found = await findProviderConfig(configPath, files);
      if (found !== undefined && found.stamp === this.#stamp) return { kind: "unchanged" };
      reading = found && await openProviderConfig(configPath, files, found);
      this.#stamp = found?.stamp;
    } catch (error) {
      this.#stamp = undefined;
      const what = error instanceof AgentError ? error.message : "it cannot be read";
      return this.#refuse("unreadable", [problem(configPath, what, "make it readable")]);
    }
    if (reading === undefined) {
      this.#stamp = undefined;
      const missing = problem(configPath, "there is no such file", "write it, or mend its path");
      return this.#refuse("no-config-file", [missing]);
    }
    const { problems, plugins, warnings } = reading;
    if (problems.length > 0) return this.#refuse("invalid-config", problems);
    this.#trouble = undefined;
    this.#plugins = plugins.map((definition) => this.#plugin(definition));
    return { kind: "loaded", warnings };
  }

  #refuse(reason: Trouble["reason"], problems: readonly ConfigProblem[]): ReloadOutcome {
    this.#trouble = { reason, detail: problems.map(formatProblem).join("; ") };
    return { kind: "refused", problems };
  }
}

function problem(file: string, what: string, mend: string): ConfigProblem {
  return { file, place: "", problem: what, mend };
}

/** The most specific pattern first; among equals the plugin that is configured earlier. */
function combine(
  asked: readonly Contribution[],
  before: readonly ProviderNote[],
): ProviderOutcome {
  const notes = [...before];
  const candidates: Candidate[] = [];
  for (const one of asked) {
    notes.push(one.note);
    candidates.push(...one.candidates);
  }
  if (candidates.length > 1) {
    candidates.sort((a, b) => comparePatterns(a.pattern ?? "", b.pattern ?? ""));
  }
  if (isAny(candidates)) {
    const [best] = candidates;
    const reason = asked.find(({ note }) => note.subject === best.plugin)?.note.reason ?? "found";
    return { kind: "found", reason, candidates, notes };
  }
  const standing = standingOf(asked);
  const failures = asked.flatMap(({ failed, note }) => failed ? [{ ...failed, note }] : []);
  const [first] = failures;
  if (first !== undefined) {
    const retries = failures.flatMap(({ retryAtMs }) => retryAtMs ?? []);
    return {
      kind: "failed",
      reason: first.note.reason,
      detail: first.detail,
      notes,
      ...(retries.length > 0 && { retryAtMs: Math.min(...retries) }),
      ...standing,
    };
  }
  const answered = asked.find(({ note }) => note.reason !== "plugin-not-matched");
  const reason = answered?.note.reason ?? "plugin-not-matched";
  return { kind: "none", reason, notes, ...standing };
}

function isAny(candidates: Candidate[]): candidates is [Candidate, ...Candidate[]] {
  return candidates.length > 0;
}

/** Known only when every plugin that is run in the name of accounts knows its own. */
function standingOf(asked: readonly Contribution[]): { readonly standing?: Standing } {
  const all = asked.flatMap(({ standing }) => standing === undefined ? [] : [standing]);
  if (all.length === 0) return {};
  const known = all.filter((one) => one !== "unknown");
  return { standing: known.length < all.length ? "unknown" : known.flat() };
}
