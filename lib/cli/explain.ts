import {
  type Candidate,
  formatDuration,
  parseDurationMs,
  parseImageReference,
  type ProviderAttempt,
  REASON_CODES,
  type Resolution,
  unnamedHosts,
} from "../model/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { asKubelet, kubeletJson, kubeletText, type KubeletView } from "./as_kubelet.ts";
import { type Context, EXIT, type Flags, loadConfig } from "./context.ts";
import { openChain } from "./chain.ts";
import { labelsOf } from "./get.ts";
import { imageViews } from "../report/mod.ts";
import { askAgent, type Told } from "./status_answer.ts";
import { explainPlaces, type PlaceExplained, placesOf } from "./places.ts";
import { alignColumns, printable } from "./table.ts";

/** Options of `explain`. */
export interface ExplainOptions {
  readonly ref: string;
  readonly labels: readonly string[];
  readonly validFor?: string;
  readonly output: string;
  /** Look at it as the kubelet would, too. */
  readonly asKubelet?: boolean;
  readonly kubeletConfig?: string;
  readonly kubeletBinDir?: string;
}

/**
 * `explain REF`: what every provider answers for an image, and why; and the same for every other
 * place that this node reads it from. Never the secret. Exit code 0 when a credential was found, 1
 * when none was.
 */
export async function explain(
  context: Context,
  flags: Flags,
  options: ExplainOptions,
): Promise<number> {
  const image = parseImageReference(options.ref);
  const config = await loadConfig(context, flags);
  const nowMs = context.clock.wallMs();
  const request = {
    image,
    labels: labelsOf(options.labels),
    ...(options.validFor !== undefined && {
      validUntilMs: nowMs + parseDurationMs(options.validFor),
    }),
  };
  const found = await placesOf(context, config, image);
  const chain = await openChain(context, config);
  let resolution: Resolution;
  let places: readonly PlaceExplained[];
  try {
    resolution = await chain.chain.resolve(request, { all: true });
    places = await explainPlaces(chain.chain, request, found);
  } finally {
    await chain[Symbol.asyncDispose]();
  }
  const view = await kubeletView(context, config, options);
  const told = await askAgent(context, config).catch(() => undefined);
  const node = nodeWords(told, image.text, nowMs);
  const text = options.output === "json"
    ? JSON.stringify(
      {
        ...explanation(resolution),
        places: places.map((place) => placeJson(place, config)),
        node,
        ...(view && { asKubelet: kubeletJson(view) }),
      },
      null,
      2,
    ) + "\n"
    : explanationText(resolution, nowMs, node) +
      places.map((place) => placeText(place, config, nowMs)).join("") +
      (view === undefined ? "" : kubeletText(view));
  context.host.out(text);
  const winners = [resolution, ...places.map((place) => place.resolution)]
    .filter(({ winner }) => winner !== undefined);
  return winners.length === 0 ? EXIT.failed : EXIT.ok;
}

/** A place for programs: what was asked for it, and what becomes of the answer. */
function placeJson({ place, resolution }: PlaceExplained, config: AgentConfig) {
  const { winner, attempts } = resolution;
  const { providers } = explanation({
    ...resolution,
    attempts: attempts.filter(({ forEndpoint }) => forEndpoint),
  });
  const unnamed = winner && unnamedHosts(place.endpoint, winner.candidates[0]);
  return {
    host: place.endpoint.host,
    why: place.why,
    ...(place.endpoint.target && { asked: place.endpoint.target.text, providers }),
    hosts: place.endpoint.hosts.map(({ role, host, namedBy }) => ({ role, host, namedBy })),
    winner: winner && {
      provider: winner.provider,
      foundFor: winner.candidates[0].forEndpoint ? "endpoint" : "registry",
      ...describe(winner.candidates[0]),
    },
    ...(unnamed && unnamed.length > 0 && {
      unnamedHosts: unnamed,
      decision: config.delivery.unknownHosts === "refuse" ? "withheld" : "delivered",
    }),
  };
}

function placeText(
  { place, resolution }: PlaceExplained,
  { delivery }: AgentConfig,
  nowMs: number,
): string {
  const { endpoint, why } = place;
  const { winner, attempts } = resolution;
  const unnamed = unnamedHosts(endpoint, winner?.candidates[0] ?? {});
  const lines = [
    ["read from", `${endpoint.host}: ${why}`],
    ...(endpoint.target ? [["asked for", `${endpoint.target.text} first`]] : []),
    ...endpoint.hosts.map(({ role, host, namedBy }) => [
      role,
      namedBy === undefined ? `${host}: nobody names it` : `${host}: named by ${namedBy}`,
    ]),
    ["winner", placeWinner(winner, nowMs)],
    ...(winner !== undefined && unnamed.length > 0
      ? [[
        "decision",
        delivery.unknownHosts === "refuse" ? "withheld" : "delivered, with a warning",
      ]]
      : []),
  ].map(([name = "", text = ""]) => [name, printable(text)]);
  const rows = attempts.filter(({ forEndpoint }) => forEndpoint)
    .flatMap((attempt, i) => attemptRows(attempt, i + 1, winner?.provider));
  return `\n${alignColumns(lines)}${rows.length === 0 ? "" : `\n${alignColumns(rows)}`}`;
}

function placeWinner(winner: Resolution["winner"], nowMs: number): string {
  if (winner === undefined) return "none";
  const [candidate] = winner.candidates;
  const of = candidate.forEndpoint ? "has an entry for it" : "of the image's own registry";
  return `${winner.provider} (${of}): ${describeText(candidate, nowMs)}`;
}

async function kubeletView(
  context: Context,
  config: AgentConfig,
  { ref, asKubelet: wanted = false, kubeletConfig, kubeletBinDir }: ExplainOptions,
): Promise<KubeletView | undefined> {
  if (!wanted && kubeletConfig === undefined && kubeletBinDir === undefined) return undefined;
  return await asKubelet(context, config, parseImageReference(ref), {
    ...(kubeletConfig !== undefined && { config: kubeletConfig }),
    ...(kubeletBinDir !== undefined && { binDir: kubeletBinDir }),
  });
}

/** The same for programs: no credential, no user name. */
function explanation({ image, attempts, winner }: Resolution) {
  return {
    image: image.text,
    registry: image.registry,
    providers: attempts.map(({ provider, outcome, durationMs }) => ({
      provider,
      outcome: outcome.kind,
      reason: outcome.reason,
      meaning: REASON_CODES[outcome.reason],
      ...(outcome.kind === "failed" && {
        detail: outcome.detail,
        ...(outcome.retryAtMs !== undefined && { retryAt: iso(outcome.retryAtMs) }),
      }),
      durationMs: Math.round(durationMs),
      notes: outcome.notes,
      ...(outcome.kind === "found" && { candidates: outcome.candidates.map(describe) }),
    })),
    winner: winner && { provider: winner.provider, ...describe(winner.candidates[0]) },
  };
}

function describe(candidate: Candidate) {
  const { credential, origin, pattern, plugin, fetchedAtMs, softExpiresAtMs, hardExpiresAtMs } =
    candidate;
  return {
    form: credential.kind,
    origin,
    ...(pattern !== undefined && { pattern }),
    ...(plugin !== undefined && { plugin }),
    fetchedAt: iso(fetchedAtMs),
    ...(softExpiresAtMs !== undefined && { softExpiresAt: iso(softExpiresAtMs) }),
    ...(hardExpiresAtMs !== undefined && { hardExpiresAt: iso(hardExpiresAtMs) }),
  };
}

/** Whether the image is mounted here, and what the running agent uses for it. */
function nodeWords(told: Told | undefined, image: string, nowMs: number): string {
  if (told === undefined) return "no agent answers here: whether it is mounted is not known";
  const view = imageViews(told.status, nowMs).find((one) => one.image.image === image);
  if (view === undefined) return "not mounted on this node";
  const { mounts, word, image: { provider, renewedAtMs, elected } } = view;
  const since = renewedAtMs === undefined
    ? ""
    : `, renewed ${formatDuration(Math.max(0, nowMs - renewedAtMs))} ago`;
  const source = provider === undefined
    ? "the agent has no credential for it"
    : `the agent uses one from ${provider}${since}${elected ? `: ${printable(elected)}` : ""}`;
  return `${mounts.length} ${mounts.length === 1 ? "mount" : "mounts"}, ${word}: ${source}`;
}

function explanationText(resolution: Resolution, nowMs: number, node: string): string {
  const { winner } = resolution;
  const rows = resolution.attempts.flatMap((attempt, i) =>
    attemptRows(attempt, i + 1, winner?.provider)
  );
  const head = `image     ${resolution.image.text}\nregistry  ${resolution.image.registry}\n`;
  const tail = winner === undefined
    ? "winner    none: the image is public, or no provider knows its registry\n"
    : `winner    ${winner.provider}: ${describeText(winner.candidates[0], nowMs)}\n`;
  return `${head}node      ${node}\n${tail}\n${alignColumns(rows)}`;
}

function attemptRows(
  { provider, outcome }: ProviderAttempt,
  place: number,
  winner: string | undefined,
): string[][] {
  const detail = outcome.kind === "failed" ? outcome.detail : REASON_CODES[outcome.reason];
  const answer = outcome.kind !== "found"
    ? outcome.kind
    : provider === winner
    ? "found, wins"
    : `found, after ${winner}`;
  const rows = [[String(place), provider, answer, outcome.reason, printable(detail)]];
  for (const note of outcome.notes) {
    const words = printable(note.detail ?? REASON_CODES[note.reason]);
    rows.push(["", "", "", note.reason, `${printable(note.subject)}: ${words}`]);
  }
  return rows;
}

function describeText(candidate: Candidate, nowMs: number): string {
  const life = candidate.hardExpiresAtMs === undefined
    ? "life unknown"
    : candidate.hardExpiresAtMs <= nowMs
    ? `expired ${formatDuration(nowMs - candidate.hardExpiresAtMs)} ago`
    : `lives another ${formatDuration(candidate.hardExpiresAtMs - nowMs)}`;
  const cached = candidate.softExpiresAtMs === undefined
    ? ""
    : `, may be cached for ${formatDuration(Math.max(0, candidate.softExpiresAtMs - nowMs))}`;
  const pattern = candidate.pattern === undefined ? "" : `, pattern ${candidate.pattern}`;
  return printable(`${candidate.origin}${pattern}, ${candidate.credential.kind}, ${life}${cached}`);
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
