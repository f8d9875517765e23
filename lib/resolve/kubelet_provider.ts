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
  messageOf,
  parseImageTarget,
  type ProviderNote,
  type ProviderOutcome,
  type ReasonCode,
} from "../model/mod.ts";
import { Plugin, type PluginAnswer, type PluginEnvironment } from "./plugin.ts";
import { matchEntry } from "./plugin_cache.ts";
import { type PluginDefinition, readProviderConfig } from "./provider_config.ts";
import type { ImageTarget } from "../model/mod.ts";

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

/** What one plugin contributes to an outcome. */
interface Contribution {
  readonly note: ProviderNote;
  readonly candidates: readonly Candidate[];
  readonly failed?: { readonly retryAtMs?: number };
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
  #refused: readonly ConfigProblem[] = [];

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
    const { configPath, files } = this.#options;
    let text: string | undefined;
    try {
      const stat = await files.stat(configPath);
      if (stat !== undefined && stat.stamp === this.#stamp) return { kind: "unchanged" };
      text = await files.readText(configPath);
      this.#stamp = stat?.stamp;
    } catch (error) {
      return this.#refuse([problem(configPath, messageOf(error), "make it readable")]);
    }
    if (text === undefined) {
      this.#stamp = undefined;
      return this.#refuse([
        problem(configPath, "there is no such file", "write it, or mend its path"),
      ]);
    }
    const reading = readProviderConfig(text, configPath);
    if (reading.problems.length > 0) return this.#refuse(reading.problems);
    this.#refused = [];
    this.#plugins = reading.plugins.map((definition) => this.#plugin(definition));
    return { kind: "loaded", warnings: reading.warnings };
  }

  async provide(request: CredentialRequest, _options?: CallOptions): Promise<ProviderOutcome> {
    if (this.#plugins.length === 0 && this.#refused.length > 0) {
      const detail = this.#refused.map(formatProblem).join("; ");
      return { kind: "failed", reason: "invalid-config", detail, notes: [] };
    }
    let target: ImageTarget;
    try {
      target = parseImageTarget(request.image.text);
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      return { kind: "failed", reason: "invalid-entry", detail: error.message, notes: [] };
    }
    const matching = this.#plugins.filter((plugin) => plugin.matches(target));
    const asked = await Promise.all(
      matching.map(async (plugin) =>
        contribution(plugin, await plugin.ask(request, target), target)
      ),
    );
    return combine(asked, this.#notMatching(matching));
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

  #refuse(problems: readonly ConfigProblem[]): ReloadOutcome {
    this.#refused = problems;
    return { kind: "refused", problems };
  }

  #notMatching(matching: readonly Plugin[]): ProviderNote[] {
    return this.#plugins.filter((plugin) => !matching.includes(plugin)).map(({ definition }) => ({
      subject: definition.name,
      reason: "plugin-not-matched",
    }));
  }
}

function problem(file: string, what: string, mend: string): ConfigProblem {
  return { file, place: "", problem: what, mend };
}

function contribution(plugin: Plugin, answer: PluginAnswer, target: ImageTarget): Contribution {
  const subject = plugin.definition.name;
  if (answer.kind === "failed") {
    const { reason, detail, retryAtMs } = answer;
    return {
      note: { subject, reason, detail },
      candidates: [],
      failed: retryAtMs === undefined ? {} : { retryAtMs },
    };
  }
  const { candidates, anonymous } = matchEntry(answer.entry, target);
  return { note: { subject, reason: reasonOf(answer, candidates, anonymous) }, candidates };
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

/** The most specific pattern first; among equals the plugin that the configuration names earlier. */
function combine(
  asked: readonly Contribution[],
  others: readonly ProviderNote[],
): ProviderOutcome {
  const notes = [...asked.map(({ note }) => note), ...others];
  const [best, ...rest] = asked.flatMap(({ candidates }) => candidates)
    .sort((a, b) => comparePatterns(a.pattern ?? "", b.pattern ?? ""));
  if (best !== undefined) {
    const reason = notes.find(({ subject }) => subject === best.plugin)?.reason ?? "found";
    return { kind: "found", reason, candidates: [best, ...rest], notes };
  }
  const failed = asked.filter((each) => each.failed !== undefined);
  const [first] = failed;
  if (first !== undefined) {
    const retries = failed.flatMap(({ failed }) => failed?.retryAtMs ?? []);
    return {
      kind: "failed",
      reason: first.note.reason,
      detail: first.note.detail ?? "",
      notes,
      ...(retries.length > 0 && { retryAtMs: Math.min(...retries) }),
    };
  }
  const reason = asked[0]?.note.reason ?? "plugin-not-matched";
  return { kind: "none", reason, notes };
}
