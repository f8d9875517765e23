import {
  type Candidate,
  type CredentialRequest,
  ImagePattern,
  type ImageTarget,
  type ProviderNote,
  type ReasonCode,
  type ValidAccounts,
} from "../../model/mod.ts";
import { few } from "../../model/mod.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** What one plugin contributes to an outcome. */
export interface Contribution {
  readonly note: ProviderNote;
  readonly candidates: readonly Candidate[];
  readonly failed?: { readonly detail: string; readonly retryAtMs?: number };
  /** Of a plugin that is run in the name of service accounts: whose credentials still count. */
  readonly validAccounts?: ValidAccounts;
}

/** A plugin of the kubelet's configuration: the images that it serves, and what it has for them. */
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

  /** Whether the plugin is executed for an image. */
  matches(target: ImageTarget): boolean {
    return this.#patterns.some((pattern) => pattern.matches(target));
  }

  /** Returns what the plugin has for an image that it matches. Rejects only on a defect. */
  abstract contribute(request: CredentialRequest, target: ImageTarget): Promise<Contribution>;

  /** The contribution for an image that no pattern matches. */
  notMatched(): Contribution {
    const detail = `no matchImages pattern matches: ${few(this.definition.matchImages)}`;
    return this.none("plugin-not-matched", detail);
  }

  /** The contribution of a plugin that has no credential. */
  none(reason: ReasonCode, detail = ""): Contribution {
    const subject = this.definition.name;
    return { note: { subject, reason, ...(detail !== "" && { detail }) }, candidates: [] };
  }

  /** The contribution of a plugin whose credentials could not be determined. */
  failed(reason: ReasonCode, what: string): Contribution {
    const detail = `plugin ${this.definition.name}: ${what}`;
    return { ...this.none(reason, detail), failed: { detail } };
  }
}
