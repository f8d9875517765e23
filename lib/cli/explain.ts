import {
  type ExplainedCandidate,
  type ExplainedLocation,
  type ExplainedProvider,
  explainImage,
  type Explanation,
  openChain,
} from "../agent/mod.ts";
import { type AgentConfig, type Flags, loadClientConfig, loadConfig } from "../config/mod.ts";
import { alignColumns, EXIT, formatDuration, printable, REASON_CODES } from "../model/mod.ts";
import {
  criProxyProblem,
  earlierCredentialUse,
  type ImageView,
  imageViews,
  type NodeStatus,
  withTextTimes,
  withTimesInMs,
} from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import { queryAgent, queryApi, warnWithoutAgent } from "./agent_client.ts";
import { type LookupOptions, type LookupRequest, lookupRequest } from "./get.ts";
import { type CommandCall, printJson } from "./options.ts";

/**
 * `explain REF`: prints the result of every provider for an image, and for every other location
 * that this node reads it from, without secrets. Queries the running agent, which knows the
 * credentials of pulls, or the provider chain without one. Exit code 1 without a credential.
 */
export async function explain(
  { context, flags, args: [ref], options }: CommandCall<LookupOptions>,
): Promise<number> {
  const { host, clock } = context;
  const request = lookupRequest(ref, options, clock);
  const config = await loadClientConfig(context, flags);
  const nowMs = clock.wallMs();
  const explanation = await explanationOf(context, flags, config, request);
  const { image, registry, locations } = explanation;
  const reply = await queryAgent(config).catch(() => undefined);
  const view = reply &&
    imageViews(reply, nowMs).find((each) => each.image.image === image);
  const node = nodeText(reply, view, nowMs);
  const earlier = view && earlierCredentialUse(view, nowMs);
  const unseenPulls = criProxyProblem(reply?.criProxy, nowMs);
  const warning = unseenPulls && `${unseenPulls.text}: ${unseenPulls.remedy}`;
  if (options.output === "json") {
    printJson(context, withTextTimes({ ...explanation, node, earlier, warning }));
  } else {
    const names = { image, registry, node, earlier, warning };
    const lines = [...Object.entries(names), ["winner", imageWinner(explanation, nowMs)] as const];
    const sections = [
      sectionText(lines, explanation),
      ...locations.map((location) => sectionText(locationLines(location, nowMs), location)),
    ];
    host.out(sections.join("\n"));
  }
  const isFound = [explanation, ...locations].some(({ winner }) => winner !== undefined);
  return isFound ? EXIT.ok : EXIT.failed;
}

async function explanationOf(
  context: Context,
  flags: Flags,
  clientConfig: AgentConfig,
  { body, lookup }: LookupRequest,
): Promise<Explanation> {
  const path = "/v1/explain";
  const result = await queryApi<object>(clientConfig, { method: "POST", path, body });
  if (result.kind === "answered") return withTimesInMs(result.body);
  warnWithoutAgent(context, result);
  const config = await loadConfig(context, flags);
  await using opened = await openChain(context, config);
  return await explainImage(context, config, opened.chain, lookup);
}

type Line = readonly [name: string, text: string | undefined];

/** Returns the lines that have a text, and a table of the providers. */
function sectionText(
  lines: readonly Line[],
  { providers, winner }: Pick<Explanation, "providers" | "winner">,
): string {
  const shown = lines.flatMap(([name, text]) =>
    text === undefined ? [] : [[name, printable(text)]]
  );
  const rows = providers.flatMap((each, i) => providerRows(each, i + 1, winner?.provider));
  return [shown, rows].filter(({ length }) => length > 0).map(alignColumns).join("\n");
}

function imageWinner({ providers, winner }: Explanation, nowMs: number): string {
  if (winner !== undefined) return `${winner.provider}: ${candidateText(winner, nowMs)}`;
  const failed = providers.filter(({ outcome }) => outcome === "failed");
  if (failed.length === 0) return "none: the image is public, or no provider knows its registry";
  const names = failed.map(({ provider }) => provider).join(" and ");
  return `none: ${names} failed, no other provider has one`;
}

function locationLines(
  { host, reason, target, hosts, winner, decision }: ExplainedLocation,
  nowMs: number,
): readonly Line[] {
  const scope = winner?.foundFor === "endpoint"
    ? "has an entry for it"
    : "for the image's own registry";
  return [
    ["read from", `${host}: ${reason}`],
    ["queried", target && `${target} first`],
    ...hosts.map(({ role, host, approvedBy }): Line => [
      role,
      approvedBy === undefined ? `${host}: not approved` : `${host}: approved by ${approvedBy}`,
    ]),
    ["winner", winner ? `${winner.provider} (${scope}): ${candidateText(winner, nowMs)}` : "none"],
    ["decision", decision === "delivered" ? "delivered, with a warning" : decision],
  ];
}

/** Describes whether the image is mounted, and which credential the running agent uses for it. */
function nodeText(
  reply: NodeStatus | undefined,
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
  const reason = selectionReason ? `: ${selectionReason}` : "";
  return `${count}: the agent uses one from ${provider}${renewed}${reason}`;
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
  const { expiresAtMs, refreshAtMs, pattern, origin, form } = candidate;
  const expiry = expiresAtMs === undefined
    ? "unknown lifetime"
    : expiresAtMs <= nowMs
    ? `expired ${formatDuration(nowMs - expiresAtMs)} ago`
    : `expires in ${formatDuration(expiresAtMs - nowMs)}`;
  const cached = refreshAtMs === undefined
    ? ""
    : `, may be cached for ${formatDuration(Math.max(0, refreshAtMs - nowMs))}`;
  const matched = pattern === undefined ? "" : `, pattern ${pattern}`;
  return `${origin}${matched}, ${form}, ${expiry}${cached}`;
}
