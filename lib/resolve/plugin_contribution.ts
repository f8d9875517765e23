import type { Candidate, ImageTarget, ProviderNote, ReasonCode, Standing } from "../model/mod.ts";
import { few } from "./few.ts";
import type { Plugin, PluginAnswer } from "./plugin.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** What one plugin contributes to an outcome. */
export interface Contribution {
  readonly note: ProviderNote;
  readonly candidates: readonly Candidate[];
  readonly failed?: { readonly detail: string; readonly retryAtMs?: number };
  /** Of a plugin that is run in the name of service accounts: whose credentials still count. */
  readonly standing?: Standing;
}

/** Put together once for each plugin: it is kept for every image that it does not match. */
const NOT_MATCHED = new WeakMap<PluginDefinition, string>();

/** Of a plugin that is not asked. */
export function notMatched(
  { definition }: { readonly definition: PluginDefinition },
): Contribution {
  const { name: subject, matchImages } = definition;
  const detail = NOT_MATCHED.get(definition) ??
    `no matchImages pattern matches: ${few(matchImages)}`;
  NOT_MATCHED.set(definition, detail);
  return { note: { subject, reason: "plugin-not-matched", detail }, candidates: [] };
}

/** What a plugin's answer comes to for one image. */
export function contribution(
  plugin: Plugin,
  answer: PluginAnswer,
  target: ImageTarget,
): Contribution {
  const subject = plugin.definition.name;
  if (answer.kind === "failed") {
    const { reason, detail, retryAtMs } = answer;
    return {
      note: { subject, reason, detail },
      candidates: [],
      failed: { detail, ...(retryAtMs !== undefined && { retryAtMs }) },
    };
  }
  const { candidates, anonymous } = plugin.lastMatch.of(answer.entry, target);
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
