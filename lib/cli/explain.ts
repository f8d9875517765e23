import {
  formatDuration,
  type ImageReference,
  parseDurationMs,
  parseImageReference,
  REASON_CODES,
} from "../model/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { criProxyFindings, imageViews } from "../observability/mod.ts";
import { queryApi, warnAboutAgent } from "./api_client.ts";
import { openChain } from "../agent/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadClientConfig, loadConfig } from "../config/mod.ts";
import {
  type ExplainedCandidate,
  type ExplainedProvider,
  explainImage,
  type Explanation,
  type LocationExplanation,
} from "../agent/mod.ts";
import { labelsOf } from "./get.ts";
import { type AgentReply, queryAgent } from "./agent_client.ts";
import { alignColumns, printable } from "./table.ts";

/** Options of `explain`. */
export interface ExplainOptions {
  readonly ref: string;
  readonly labels: readonly string[];
  readonly validFor?: string;
  readonly output: string;
}

/**
 * `explain REF`: what every provider answers for an image, and why; and the same for every other
 * place that this node reads it from. The running agent is asked, which knows what pulls brought;
 * without one the chain is. Never the secret. Exit code 0 when a credential was found, 1 when none
 * was.
 */
export async function explain(
  context: Context,
  flags: Flags,
  options: ExplainOptions,
): Promise<number> {
  const image = parseImageReference(options.ref);
  const config = await loadClientConfig(context, flags);
  const nowMs = context.clock.wallMs();
  const explanation = await explained(context, flags, config, image, options);
  const told = await queryAgent(context, config).catch(() => undefined);
  const node = nodeWords(told, image.text, nowMs);
  const [unseenPulls] = criProxyFindings(told?.status.criProxy, nowMs);
  const warning = unseenPulls && `${unseenPulls.text}: ${unseenPulls.remedy}`;
  const { places } = explanation;
  context.host.out(
    options.output === "json"
      ? JSON.stringify({ ...explanation, node, ...(warning && { warning }) }, null, 2) + "\n"
      : explanationText(explanation, nowMs, { node, ...(warning && { warning }) }) +
        places.map((place) => locationText(place, nowMs)).join(""),
  );
  const found = [explanation, ...places].some(({ winner }) => winner !== undefined);
  return found ? EXIT.ok : EXIT.failed;
}

async function explained(
  context: Context,
  flags: Flags,
  config: AgentConfig,
  image: ImageReference,
  { labels: pairs, validFor }: ExplainOptions,
): Promise<Explanation> {
  const labels = labelsOf(pairs);
  const validForMs = validFor === undefined ? undefined : parseDurationMs(validFor);
  const asked = await queryApi<Explanation>(config, {
    method: "POST",
    path: "/v1/explain",
    body: { ref: image.text, labels, ...(validFor !== undefined && { validFor }) },
  });
  if (asked.kind === "answered") return asked.body;
  warnAboutAgent(context, asked);
  const own = await loadConfig(context, flags);
  await using chain = await openChain(context, own);
  const validUntilMs = validForMs === undefined ? {} : {
    validUntilMs: context.clock.wallMs() + validForMs,
  };
  return await explainImage(context, own, chain.chain, { image, labels, ...validUntilMs });
}

function locationText(place: LocationExplanation, nowMs: number): string {
  const { host, why, asked, hosts, winner, unapprovedHosts, decision, providers } = place;
  const lines = [
    ["read from", `${host}: ${why}`],
    ...(asked === undefined ? [] : [["asked for", `${asked} first`]]),
    ...hosts.map(({ role, host, approvedBy }) => [
      role,
      approvedBy === undefined ? `${host}: nobody names it` : `${host}: named by ${approvedBy}`,
    ]),
    ["winner", locationWinner(winner, nowMs)],
    ...(unapprovedHosts === undefined
      ? []
      : [["decision", decision === "withheld" ? "withheld" : "delivered, with a warning"]]),
  ].map(([name = "", text = ""]) => [name, printable(text)]);
  const rows = providers.flatMap((one, i) => providerRows(one, i + 1, winner?.provider));
  return `\n${alignColumns(lines)}${rows.length === 0 ? "" : `\n${alignColumns(rows)}`}`;
}

function locationWinner(winner: LocationExplanation["winner"], nowMs: number): string {
  if (winner === undefined) return "none";
  const of = winner.foundFor === "endpoint" ? "has an entry for it" : "of the image's own registry";
  return `${winner.provider} (${of}): ${describeText(winner, nowMs)}`;
}

/** Whether the image is mounted here, and what the running agent uses for it. */
function nodeWords(told: AgentReply | undefined, image: string, nowMs: number): string {
  if (told === undefined) return "no agent answers here: whether it is mounted is not known";
  const view = imageViews(told.status, nowMs).find((one) => one.image.image === image);
  if (view === undefined) return "not mounted on this node";
  const { mounts, word, image: { provider, renewedAtMs, selectionReason } } = view;
  const since = renewedAtMs === undefined
    ? ""
    : `, renewed ${formatDuration(Math.max(0, nowMs - renewedAtMs))} ago`;
  const source = provider === undefined
    ? "the agent has no credential for it"
    : `the agent uses one from ${provider}${since}${
      selectionReason ? `: ${printable(selectionReason)}` : ""
    }`;
  return `${mounts.length} ${mounts.length === 1 ? "mount" : "mounts"}, ${word}: ${source}`;
}

function explanationText(
  explanation: Explanation,
  nowMs: number,
  { node, warning }: { readonly node: string; readonly warning?: string },
): string {
  const { image, registry, winner, providers } = explanation;
  const rows = providers.flatMap((one, i) => providerRows(one, i + 1, winner?.provider));
  const head = `image     ${image}\nregistry  ${registry}\n`;
  const failed = providers.filter(({ outcome }) => outcome === "failed");
  const none = failed.length === 0
    ? "the image is public, or no provider knows its registry"
    : `${failed.map(({ provider }) => provider).join(" and ")} failed, and no other has one`;
  const tail = winner === undefined
    ? `winner    none: ${none}\n`
    : `winner    ${winner.provider}: ${describeText(winner, nowMs)}\n`;
  const warned = warning === undefined ? "" : `warning   ${printable(warning)}\n`;
  return `${head}node      ${node}\n${warned}${tail}\n${alignColumns(rows)}`;
}

function providerRows(
  { provider, outcome, reason, detail, meaning, notes }: ExplainedProvider,
  place: number,
  winner: string | undefined,
): string[][] {
  const answer = outcome !== "found"
    ? outcome
    : provider === winner
    ? "found, wins"
    : `found, after ${winner}`;
  const rows = [[String(place), provider, answer, reason, printable(detail ?? meaning)]];
  for (const note of notes) {
    const words = printable(note.detail ?? REASON_CODES[note.reason]);
    rows.push(["", "", "", note.reason, `${printable(note.subject)}: ${words}`]);
  }
  return rows;
}

function describeText(candidate: ExplainedCandidate, nowMs: number): string {
  const { expiresAt, refreshAt, pattern, origin, form } = candidate;
  const lifetimeMs = expiresAt === undefined ? undefined : Date.parse(expiresAt) - nowMs;
  const lifetime = lifetimeMs === undefined
    ? "life unknown"
    : lifetimeMs <= 0
    ? `expired ${formatDuration(-lifetimeMs)} ago`
    : `lives another ${formatDuration(lifetimeMs)}`;
  const cached = refreshAt === undefined
    ? ""
    : `, may be cached for ${formatDuration(Math.max(0, Date.parse(refreshAt) - nowMs))}`;
  const of = pattern === undefined ? "" : `, pattern ${pattern}`;
  return printable(`${origin}${of}, ${form}, ${lifetime}${cached}`);
}
