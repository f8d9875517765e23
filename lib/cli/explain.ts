import {
  type Candidate,
  formatDuration,
  parseDurationMs,
  parseImageReference,
  type ProviderAttempt,
  REASON_CODES,
  type Resolution,
} from "../model/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { asKubelet, kubeletJson, kubeletText, type KubeletView } from "./as_kubelet.ts";
import { type Context, EXIT, type Flags, loadConfig } from "./context.ts";
import { openChain } from "./chain.ts";
import { labelsOf } from "./get.ts";
import { imageViews } from "../report/mod.ts";
import { askAgent, type Told } from "./status_answer.ts";
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
 * `explain REF`: what every provider answers for an image, and why; never the secret. Exit code 0
 * when a credential was found, 1 when none was.
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
  const chain = await openChain(context, config);
  let resolution: Resolution;
  try {
    resolution = await chain.chain.resolve(request, { all: true });
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
        node,
        ...(view && { asKubelet: kubeletJson(view) }),
      },
      null,
      2,
    ) + "\n"
    : explanationText(resolution, nowMs, node) + (view === undefined ? "" : kubeletText(view));
  context.host.out(text);
  return resolution.winner === undefined ? EXIT.failed : EXIT.ok;
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
  const { mounts, word, image: { provider, renewedAtMs } } = view;
  const since = renewedAtMs === undefined
    ? ""
    : `, renewed ${formatDuration(Math.max(0, nowMs - renewedAtMs))} ago`;
  const source = provider === undefined
    ? "the agent has no credential for it"
    : `the agent uses one from ${provider}${since}`;
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
