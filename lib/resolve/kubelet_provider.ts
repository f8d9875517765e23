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
  Gate,
  type ImageTarget,
  parseImageTarget,
  type ProviderNote,
  type ProviderOutcome,
  type ReasonCode,
} from "../model/mod.ts";
import { Plugin, type PluginAnswer, type PluginEnvironment } from "./plugin.ts";
import { matchEntry } from "./plugin_cache.ts";
import { type PluginDefinition, readProviderConfig } from "./provider_config.ts";
import { abortable } from "./abortable.ts";

/** What the kubelet provider reads and runs. */
export interface KubeletProviderOptions extends Omit<PluginEnvironment, "gate" | "signal"> {
  readonly configPath: string;
  readonly files: FileSystem;
  /** Executions side by side, over all plugins. */
  readonly maxParallel: number;
}

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

/** What one plugin contributes to an outcome. */
interface Contribution {
  readonly note: ProviderNote;
  readonly candidates: readonly Candidate[];
  readonly failed?: { readonly detail: string; readonly retryAtMs?: number };
}

/** The kubelet's exec plugins, asked side by side; the most specific pattern wins. */
export class KubeletProvider implements CredentialProvider {
  readonly name = "kubelet";
  readonly renewable = true;
  readonly #options: KubeletProviderOptions;
  readonly #environment: PluginEnvironment;
  readonly #stop = new AbortController();
  #plugins: readonly Plugin[] = [];
  #stamp: string | undefined;
  #trouble: Trouble | undefined;
  #reloading: Promise<unknown> | undefined;

  constructor(options: KubeletProviderOptions) {
    this.#options = options;
    const gate = new Gate(options.maxParallel);
    this.#environment = { ...options, gate, signal: this.#stop.signal };
  }

  /**
   * Reads the configuration again if the file has changed. One that cannot be used is refused, and
   * the plugins that are there go on; a plugin whose definition stays keeps what it knows.
   */
  async reload(): Promise<ReloadOutcome> {
    const reload = (this.#reloading ?? Promise.resolve()).then(() => this.#reload());
    this.#reloading = reload;
    return await reload;
  }

  async provide(
    request: CredentialRequest,
    { signal }: CallOptions = {},
  ): Promise<ProviderOutcome> {
    return await abortable(this.#provide(request), signal);
  }

  async #provide(request: CredentialRequest): Promise<ProviderOutcome> {
    await (this.#reloading ?? this.reload());
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
    const plugins = this.#plugins;
    const asked = await Promise.all(
      plugins.map(async (plugin) =>
        target === undefined || !plugin.matches(target)
          ? notMatched(plugin)
          : contribution(plugin, await plugin.ask(request, target), target)
      ),
    );
    return combine(asked, notes);
  }

  /** Ends every plugin that still runs. */
  stop(): void {
    this.#stop.abort(new DOMException("plugins stopped", "AbortError"));
  }

  #plugin(definition: PluginDefinition): Plugin {
    const said = JSON.stringify(definition);
    return this.#plugins.find((plugin) => JSON.stringify(plugin.definition) === said) ??
      new Plugin(definition, this.#environment);
  }

  async #reload(): Promise<ReloadOutcome> {
    const { configPath, files } = this.#options;
    let text: string | undefined;
    try {
      const stat = await files.stat(configPath);
      if (stat !== undefined && stat.stamp === this.#stamp) return { kind: "unchanged" };
      text = await files.readText(configPath);
      this.#stamp = stat?.stamp;
    } catch (error) {
      this.#stamp = undefined;
      const what = error instanceof AgentError ? error.message : "it cannot be read";
      return this.#refuse("unreadable", [problem(configPath, what, "make it readable")]);
    }
    if (text === undefined) {
      this.#stamp = undefined;
      const missing = problem(configPath, "there is no such file", "write it, or mend its path");
      return this.#refuse("no-config-file", [missing]);
    }
    const { problems, plugins, warnings } = readProviderConfig(text, configPath);
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

function targetOf({ image }: CredentialRequest): ImageTarget | undefined {
  try {
    return parseImageTarget(image.text);
  } catch {
    return undefined; // what does not parse matches no pattern
  }
}

function problem(file: string, what: string, mend: string): ConfigProblem {
  return { file, place: "", problem: what, mend };
}

function notMatched({ definition }: Plugin): Contribution {
  return { note: { subject: definition.name, reason: "plugin-not-matched" }, candidates: [] };
}

function contribution(plugin: Plugin, answer: PluginAnswer, target: ImageTarget): Contribution {
  const subject = plugin.definition.name;
  if (answer.kind === "failed") {
    const { reason, detail, retryAtMs } = answer;
    return {
      note: { subject, reason, detail },
      candidates: [],
      failed: { detail, ...(retryAtMs !== undefined && { retryAtMs }) },
    };
  }
  const { candidates, anonymous } = matchEntry(answer.entry, target);
  const reason = reasonOf(answer, candidates, anonymous);
  const detail = answer.warnings.join("; ");
  return { note: { subject, reason, ...(detail !== "" && { detail }) }, candidates };
}

function reasonOf(
  { entry, reason }: PluginAnswer & { readonly kind: "entry" },
  candidates: readonly Candidate[],
  anonymous: ReasonCode | undefined,
): ReasonCode {
  if (candidates.length > 0) return reason;
  if (entry.auths === undefined) return "plugin-no-credential";
  return anonymous ?? "no-pattern-matched";
}

/** The most specific pattern first; among equals the plugin that is configured earlier. */
function combine(
  asked: readonly Contribution[],
  before: readonly ProviderNote[],
): ProviderOutcome {
  const notes = [...before, ...asked.map(({ note }) => note)];
  const [best, ...rest] = asked.flatMap(({ candidates }) => candidates)
    .sort((a, b) => comparePatterns(a.pattern ?? "", b.pattern ?? ""));
  if (best !== undefined) {
    const reason = asked.find(({ note }) => note.subject === best.plugin)?.note.reason ?? "found";
    return { kind: "found", reason, candidates: [best, ...rest], notes };
  }
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
    };
  }
  const answered = asked.find(({ note }) => note.reason !== "plugin-not-matched");
  return { kind: "none", reason: answered?.note.reason ?? "plugin-not-matched", notes };
}
