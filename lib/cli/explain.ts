import {
  type ExplainedCandidate,
  type ExplainedLocation,
  type ExplainedProvider,
  explainImage,
  type Explanation,
} from "../agent/mod.ts";
import { type AgentConfig, type Flags, loadClientConfig } from "../config/mod.ts";
import { alignColumns, EXIT, formatDuration, printable, REASON_CODES } from "../model/mod.ts";
import {
  criProxyProblem,
  earlierCredentialUse,
  type ImageView,
  imageViews,
  type StatusReply,
} from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import { queryAgent, queryApi, warnWithoutAgent } from "./agent_client.ts";
import { type LookupOptions, type LookupRequest, lookupRequest, withChain } from "./get.ts";
import { printJson } from "./output.ts";

/**
 * `explain REF`: prints the result of every provider for an image, and for every other location
 * that this node reads it from, without secrets. Queries the running agent, which knows the
 * credentials of pulls, or the provider chain without one. Exit code 1 without a credential.
 */
export async function explain(
  context: Context,
  flags: Flags,
  options: LookupOptions,
): Promise<number> {
  const { host, clock } = context;
  const request = lookupRequest(options);
  const { image } = request;
  const config = await loadClientConfig(context, flags);
  const nowMs = clock.wallMs();
  const explanation = await explanationOf(context, flags, config, request);
  const reply = await queryAgent(config).catch(() => undefined);
  const view = reply &&
    imageViews(reply.status, nowMs).find((each) => each.image.image === image.text);
  const node = nodeText(reply, view, nowMs);
  const earlier = view && earlierCredentialUse(view, nowMs);
  const unseenPulls = criProxyProblem(reply?.status.criProxy, nowMs);
  const warning = unseenPulls && `${unseenPulls.text}: ${unseenPulls.remedy}`;
  const { locations } = explanation;
  if (options.output === "json") printJson(context, { ...explanation, node, earlier, warning });
  else {
    const texts = locations.map((location) => locationText(location, nowMs));
    host.out(explanationText(explanation, nowMs, { node, earlier, warning }) + texts.join(""));
  }
  const isFound = [explanation, ...locations].some(({ winner }) => winner !== undefined);
  return isFound ? EXIT.ok : EXIT.failed;
}

async function explanationOf(
  context: Context,
  flags: Flags,
  config: AgentConfig,
  request: LookupRequest,
): Promise<Explanation> {
  const { body } = request;
  const path = "/v1/explain";
  const result = await queryApi<Explanation>(config, { method: "POST", path, body });
  if (result.kind === "answered") return result.body;
  warnWithoutAgent(context, result);
  return await withChain(
    context,
    flags,
    request,
    (chain, lookup, config) => explainImage(context, config, chain, lookup),
  );
}

function locationText(location: ExplainedLocation, nowMs: number): string {
  const { host, reason, target, hosts, winner, unapprovedHosts, decision, providers } = location;
  const lines = [
    ["read from", `${host}: ${reason}`],
    ...(target === undefined ? [] : [["queried", `${target} first`]]),
    ...hosts.map(({ role, host, approvedBy }) => [
      role,
      approvedBy === undefined ? `${host}: not approved` : `${host}: approved by ${approvedBy}`,
    ]),
    ["winner", locationWinner(winner, nowMs)],
    ...(unapprovedHosts === undefined
      ? []
      : [["decision", decision === "withheld" ? "withheld" : "delivered, with a warning"]]),
  ].map(([name = "", text = ""]) => [name, printable(text)]);
  const rows = providers.flatMap((each, i) => providerRows(each, i + 1, winner?.provider));
  return `\n${alignColumns(lines)}${rows.length === 0 ? "" : `\n${alignColumns(rows)}`}`;
}

function locationWinner(winner: ExplainedLocation["winner"], nowMs: number): string {
  if (winner === undefined) return "none";
  const scope = winner.foundFor === "endpoint"
    ? "has an entry for it"
    : "for the image's own registry";
  return `${winner.provider} (${scope}): ${candidateText(winner, nowMs)}`;
}

/** Describes whether the image is mounted, and which credential the running agent uses for it. */
function nodeText(
  reply: StatusReply | undefined,
  view: ImageView | undefined,
  nowMs: number,
): string {
  if (reply === undefined) return "unknown: no agent answers";
  if (view === undefined) return "not mounted on this node";
  const { mounts, word, image: { provider, renewedAtMs, selectionReason } } = view;
  const count = `${mounts.length} ${mounts.length === 1 ? "mount" : "mounts"}, ${word}`;
  if (provider === undefined) return `${count}: the agent has no credential for it`;
  const renewed = renewedAtMs === undefined
    ? ""
    : `, renewed ${formatDuration(Math.max(0, nowMs - renewedAtMs))} ago`;
  const reason = selectionReason ? `: ${printable(selectionReason)}` : "";
  return `${count}: the agent uses one from ${provider}${renewed}${reason}`;
}

function explanationText(
  explanation: Explanation,
  nowMs: number,
  { node, earlier, warning }: {
    readonly node: string;
    readonly earlier: string | undefined;
    readonly warning: string | undefined;
  },
): string {
  const { image, registry, winner, providers } = explanation;
  const rows = providers.flatMap((each, i) => providerRows(each, i + 1, winner?.provider));
  const head = `image     ${image}\nregistry  ${registry}\n`;
  const failed = providers.filter(({ outcome }) => outcome === "failed");
  const none = failed.length === 0
    ? "the image is public, or no provider knows its registry"
    : `${failed.map(({ provider }) => provider).join(" and ")} failed, no other provider has one`;
  const tail = winner === undefined
    ? `winner    none: ${none}\n`
    : `winner    ${winner.provider}: ${candidateText(winner, nowMs)}\n`;
  const warningLine = warning === undefined ? "" : `warning   ${printable(warning)}\n`;
  const earlierLine = earlier === undefined ? "" : `earlier   ${printable(earlier)}\n`;
  return `${head}node      ${node}\n${earlierLine}${warningLine}${tail}\n${alignColumns(rows)}`;
}

function providerRows(
  { provider, outcome, reason, detail, meaning, notes }: ExplainedProvider,
  position: number,
  winner: string | undefined,
): string[][] {
  const result = outcome !== "found"
    ? outcome
    : provider === winner
    ? "found, wins"
    : `found, after ${winner}`;
  const rows = [[String(position), provider, result, reason, printable(detail ?? meaning)]];
  for (const note of notes) {
    const text = printable(note.detail ?? REASON_CODES[note.reason]);
    rows.push(["", "", "", note.reason, `${printable(note.subject)}: ${text}`]);
  }
  return rows;
}

function candidateText(candidate: ExplainedCandidate, nowMs: number): string {
  const { expiresAt, refreshAt, pattern, origin, form } = candidate;
  const lifetimeMs = expiresAt === undefined ? undefined : Date.parse(expiresAt) - nowMs;
  const expiry = lifetimeMs === undefined
    ? "unknown lifetime"
    : lifetimeMs <= 0
    ? `expired ${formatDuration(-lifetimeMs)} ago`
    : `expires in ${formatDuration(lifetimeMs)}`;
  const cached = refreshAt === undefined
    ? ""
    : `, may be cached for ${formatDuration(Math.max(0, Date.parse(refreshAt) - nowMs))}`;
  const matched = pattern === undefined ? "" : `, pattern ${pattern}`;
  return printable(`${origin}${matched}, ${form}, ${expiry}${cached}`);
}
