import {
  AgentError,
  type CallOptions,
  type Candidate,
  comparePatterns,
  type ConfigProblem,
  type CredentialProvider,
  type CredentialRequest,
  type FileSystem,
  formatProblem,
  type ImageTarget,
  type ProviderNote,
  type ProviderOutcome,
  safeMessageOf,
  Semaphore,
  type ValidAccounts,
} from "../../model/mod.ts";
import { AccountPlugin } from "./service_account_plugin.ts";
import type { AnswerDeadline } from "../../model/mod.ts";
import type { Contribution, ExecPlugin } from "./exec_plugin.ts";
import { Plugin, type PluginEnvironment } from "./plugin.ts";
import type { PodAccounts } from "../../model/mod.ts";
import {
  findProviderConfig,
  openProviderConfig,
  type PluginDefinition,
  type ProviderConfigReading,
} from "./provider_config_file.ts";
import { abortable } from "../../model/mod.ts";
import { targetOf } from "../../model/mod.ts";

/** What the kubelet provider reads and runs. */
export interface KubeletProviderOptions extends Omit<PluginEnvironment, "gate"> {
  /** The `CredentialProviderConfig`, or a folder of them. */
  readonly configPath: string;
  readonly files: FileSystem;
  /** Executions side by side, over all plugins. */
  readonly maxParallel: number;
  /** For plugins that want tokens of service accounts; asked for when the first of them is. */
  readonly accounts?: () => Promise<PodAccounts>;
  /** Bounds each plugin; without it a plugin is waited for until it ends. */
  readonly deadline?: AnswerDeadline;
  /**
   * The one before a reload. Its plugins stay while the same file cannot be used, and what is known
   * of a plugin whose definition and folder stay is kept.
   */
  readonly before?: KubeletProvider;
}

/** How a look at the configuration went. */
export type ReloadOutcome =
  | { readonly kind: "unchanged" }
  | { readonly kind: "loaded"; readonly warnings: readonly ConfigProblem[] }
  | { readonly kind: "refused"; readonly problems: readonly ConfigProblem[] };

/** What is wrong with the configuration file as it is now. */
interface Problem {
  readonly reason: "unreadable" | "no-config-file" | "invalid-config";
  readonly detail: string;
}

/** The kubelet's exec plugins, asked side by side; the most specific pattern wins. */
export class KubeletProvider implements CredentialProvider {
  readonly name = "kubelet";
  readonly renewable = true;
  readonly #options: KubeletProviderOptions;
  readonly #environment: PluginEnvironment;
  #plugins: readonly ExecPlugin[] = [];
  /** Of the provider before this one, until the configuration was read. */
  #before: readonly ExecPlugin[] = [];
  #stamp: string | undefined;
  #problem: Problem | undefined;
  #isLoaded = false;
  #reloading: Promise<unknown> | undefined;

  constructor({ before, ...options }: KubeletProviderOptions) {
    this.#options = options;
    const gate = new Semaphore(options.maxParallel);
    this.#environment = { ...options, gate };
    if (before === undefined) return;
    const { configPath, binDir } = before.#options;
    if (binDir === options.binDir) this.#before = before.#plugins;
    if (configPath !== options.configPath) return;
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

  async provide(
    request: CredentialRequest,
    { signal }: CallOptions = {},
  ): Promise<ProviderOutcome> {
    return await abortable(this.#provide(request), signal);
  }

  async #provide(request: CredentialRequest): Promise<ProviderOutcome> {
    await (this.#reloading ?? (this.#isLoaded ? undefined : this.reload()));
    const notes: ProviderNote[] = [];
    if (this.#problem !== undefined) {
      const { reason, detail } = this.#problem;
      if (this.#plugins.length === 0) {
        return reason === "no-config-file"
          ? { kind: "none", reason, notes }
          : { kind: "failed", reason, detail, notes };
      }
      const subject = this.#options.configPath;
      notes.push({ subject, reason, detail: `${detail}; the last good one is used` });
    }
    const target = targetOf(request);
    const contributions = this.#plugins.map((plugin) =>
      target === undefined || !plugin.matches(target)
        ? plugin.notMatched()
        : this.#contribution(plugin, request, target)
    );
    return combine(await Promise.all(contributions), notes);
  }

  /** Never rejects, and ends in time: one plugin must not hide what the others have. */
  async #contribution(
    plugin: ExecPlugin,
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<Contribution> {
    const { image, podImage = image } = request;
    const contribution = plugin.contribute(request, target).catch((error) =>
      plugin.failed("internal-error", `it could not be used (${safeMessageOf(error)})`)
    );
    return await this.#options.deadline?.wait(contribution, {
      source: plugin.definition.name,
      image: podImage,
      isFailure: ({ failed }) => failed !== undefined,
      otherwise: (detail) => plugin.failed("deadline-exceeded", detail),
    }) ?? await contribution;
  }

  #plugin(definition: PluginDefinition): ExecPlugin {
    const text = JSON.stringify(definition);
    const isSame = ({ definition }: ExecPlugin) => JSON.stringify(definition) === text;
    const known = this.#plugins.find(isSame);
    if (known !== undefined) return known;
    const before = this.#before.find(isSame);
    const { tokenAttributes } = definition;
    if (tokenAttributes === undefined) {
      return new Plugin(
        definition,
        this.#environment,
        before instanceof Plugin ? before : undefined,
      );
    }
    const { accounts } = this.#options;
    return new AccountPlugin(
      definition,
      tokenAttributes,
      { ...this.#environment, accounts },
      before instanceof AccountPlugin ? before : undefined,
    );
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
    this.#problem = undefined;
    this.#plugins = plugins.map((definition) => this.#plugin(definition));
    this.#before = [];
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

/** The most specific pattern first; among equals the plugin that is configured earlier. */
function combine(
  contributions: readonly Contribution[],
  before: readonly ProviderNote[],
): ProviderOutcome {
  const notes = [...before];
  const candidates: Candidate[] = [];
  for (const one of contributions) {
    notes.push(one.note);
    candidates.push(...one.candidates);
  }
  if (candidates.length > 1) {
    candidates.sort((a, b) => comparePatterns(a.pattern ?? "", b.pattern ?? ""));
  }
  if (isAny(candidates)) {
    const [best] = candidates;
    const reason = contributions.find(({ note }) => note.subject === best.plugin)?.note.reason ??
      "found";
    return { kind: "found", reason, candidates, notes };
  }
  const validAccounts = validAccountsOf(contributions);
  const failures = contributions.flatMap(({ failed, note }) => failed ? [{ ...failed, note }] : []);
  const [first] = failures;
  if (first !== undefined) {
    const retries = failures.flatMap(({ retryAtMs }) => retryAtMs ?? []);
    return {
      kind: "failed",
      reason: first.note.reason,
      detail: first.detail,
      notes,
      ...(retries.length > 0 && { retryAtMs: Math.min(...retries) }),
      ...validAccounts,
    };
  }
  const answered = contributions.find(({ note }) => note.reason !== "plugin-not-matched");
  const reason = answered?.note.reason ?? "plugin-not-matched";
  return { kind: "none", reason, notes, ...validAccounts };
}

function isAny(candidates: Candidate[]): candidates is [Candidate, ...Candidate[]] {
  return candidates.length > 0;
}

/** Known only when every plugin that is run in the name of accounts knows its own. */
function validAccountsOf(
  contributions: readonly Contribution[],
): { readonly validAccounts?: ValidAccounts } {
  const all = contributions.flatMap(({ validAccounts }) =>
    validAccounts === undefined ? [] : [validAccounts]
  );
  if (all.length === 0) return {};
  const known = all.filter((one) => one !== "unknown");
  return { validAccounts: known.length < all.length ? "unknown" : known.flat() };
}
