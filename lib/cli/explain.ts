import {
  type Candidate,
  formatDuration,
  parseDurationMs,
  parseImageReference,
  type ProviderAttempt,
  REASON_CODES,
  type Resolution,
} from "../model/mod.ts";
import { type Context, EXIT, type Flags, loadConfig } from "./context.ts";
import { openChain } from "./chain.ts";
import { labelsOf } from "./get.ts";
import { alignColumns, printable } from "./table.ts";

/** Options of `explain`. */
export interface ExplainOptions {
  readonly ref: string;
  readonly labels: readonly string[];
  readonly validFor?: string;
  readonly output: string;
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
  const text = options.output === "json"
    ? JSON.stringify(explanation(resolution), null, 2) + "\n"
    : explanationText(resolution, nowMs);
  context.host.out(text);
  return resolution.winner === undefined ? EXIT.failed : EXIT.ok;
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

function explanationText(resolution: Resolution, nowMs: number): string {
  const rows = resolution.attempts.flatMap((attempt, i) => attemptRows(attempt, i + 1));
  const { winner } = resolution;
  const head = `image     ${resolution.image.text}\nregistry  ${resolution.image.registry}\n`;
  const tail = winner === undefined
    ? "winner    none: the image is public, or no provider knows its registry\n"
    : `winner    ${winner.provider}: ${describeText(winner.candidates[0], nowMs)}\n`;
  return `${head}${tail}\n${alignColumns(rows)}`;
}

function attemptRows({ provider, outcome }: ProviderAttempt, place: number): string[][] {
  const detail = outcome.kind === "failed" ? outcome.detail : REASON_CODES[outcome.reason];
  const rows = [[String(place), provider, outcome.kind, outcome.reason, printable(detail)]];
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
