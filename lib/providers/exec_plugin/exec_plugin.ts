import {
  type Candidate,
  type CredentialRequest,
  defined,
  ImagePattern,
  type ImageTarget,
  joinNames,
  type ProviderNote,
  type ReasonCode,
  type ValidAccounts,
} from "../../model/mod.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** One plugin's part of the provider's outcome. */
export interface PluginOutcome {
  readonly note: ProviderNote;
  /** Most specific pattern first; empty if the plugin has no credential or failed. */
  readonly candidates: readonly Candidate[];
  readonly failure?: { readonly detail: string; readonly retryAtMs?: number };
  /** Set by plugins that run per service account: the accounts whose credentials are still valid. */
  readonly validAccounts?: ValidAccounts;
}

/** A plugin of the `CredentialProviderConfig`: the images it matches and its credentials for them. */
export abstract class ExecPlugin {
  readonly definition: PluginDefinition;
  readonly #patterns: readonly ImagePattern[];

  constructor(definition: PluginDefinition) {
    this.definition = definition;
    this.#patterns = definition.matchImages.flatMap((pattern) => {
      try {
        return [ImagePattern.parse(pattern)];
      } catch {
        return []; // reported when the configuration was read
      }
    });
  }

  /** Whether a `matchImages` pattern matches an image. */
  matches(target: ImageTarget): boolean {
    return this.#patterns.some((pattern) => pattern.matches(target));
  }

  /** Returns the plugin's credentials for an image that it matches. Rejects only on a defect. */
  abstract provide(request: CredentialRequest, target: ImageTarget): Promise<PluginOutcome>;

  /** The outcome for an image that no pattern matches. */
  notMatched(): PluginOutcome {
    const detail = `no matchImages pattern matches: ${joinNames(this.definition.matchImages)}`;
    return this.none("plugin-not-matched", detail);
  }

  /** The outcome of a plugin that has no credential. */
  none(reason: ReasonCode, detail?: string): PluginOutcome {
    return {
      note: { subject: this.definition.name, reason, ...defined({ detail }) },
      candidates: [],
    };
  }

  /** The outcome of a plugin that failed. */
  failed(reason: ReasonCode, what: string, retryAtMs?: number): PluginOutcome {
    const detail = `plugin ${this.definition.name}: ${what}`;
    return { ...this.none(reason, detail), failure: { detail, ...defined({ retryAtMs }) } };
  }
}
