import {
  AgentError,
  type Candidate,
  credentialSecret,
  credentialUsername,
  parseDurationMs,
  parseImageReference,
  REASON_CODES,
} from "../model/mod.ts";
import { openChain } from "./chain.ts";
import { type Context, EXIT, type Flags, loadConfig } from "./context.ts";
import { printable } from "./table.ts";

/** Options of `get`. */
export interface GetOptions {
  readonly ref: string;
  readonly labels: readonly string[];
  readonly validFor?: string;
  readonly output: string;
}

/**
 * `get REF`: prints the credential that the chain finds. Exit code 1, and nothing on stdout, when
 * there is none.
 */
export async function get(context: Context, flags: Flags, options: GetOptions): Promise<number> {
  const image = parseImageReference(options.ref);
  const labels = labelsOf(options.labels);
  const validForMs = options.validFor === undefined ? undefined : parseDurationMs(options.validFor);
  const config = await loadConfig(context, flags);
  await using chain = await openChain(context, config);
  const validUntilMs = validForMs === undefined ? undefined : context.clock.wallMs() + validForMs;
  const { winner, attempts } = await chain.chain.resolve({
    image,
    labels,
    ...(validUntilMs !== undefined && { validUntilMs }),
  });
  if (winner === undefined) {
    const why = attempts.map(({ provider, outcome }) => {
      const detail = outcome.kind === "failed" ? outcome.detail : REASON_CODES[outcome.reason];
      return `  ${provider}: ${outcome.reason}: ${printable(detail)}\n`;
    });
    context.host.err(`no credential for ${image.text}\n${why.join("")}`);
    return EXIT.failed;
  }
  const [candidate] = winner.candidates;
  if (validUntilMs !== undefined && shorterThan(candidate, validUntilMs)) {
    context.host.err(
      "warning: the credential is the freshest there is, but lives shorter than asked\n",
    );
  }
  context.host.out(
    options.output === "json"
      ? JSON.stringify(asJson(image.text, winner.provider, candidate), null, 2) + "\n"
      : asText(candidate),
  );
  return EXIT.ok;
}

/**
 * Labels from `key=value` arguments.
 *
 * @throws {AgentError} `usage` when one has no equals sign.
 */
export function labelsOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    // The value may be a secret: the message names the option only.
    if (at < 1) throw new AgentError("usage", "read --label: not of the form key=value");
    return [pair.slice(0, at), pair.slice(at + 1)];
  }));
}

function shorterThan({ hardExpiresAtMs, softExpiresAtMs }: Candidate, untilMs: number): boolean {
  const endsAtMs = hardExpiresAtMs ?? softExpiresAtMs;
  return endsAtMs !== undefined && endsAtMs < untilMs;
}

function asJson(image: string, provider: string, candidate: Candidate) {
  const { credential, hardExpiresAtMs, softExpiresAtMs } = candidate;
  return {
    image,
    provider,
    form: credential.kind,
    username: credentialUsername(credential),
    [credential.kind === "basic" ? "password" : "token"]: credentialSecret(credential).reveal(),
    origin: candidate.origin,
    fetchedAt: new Date(candidate.fetchedAtMs).toISOString(),
    ...(softExpiresAtMs !== undefined &&
      { softExpiresAt: new Date(softExpiresAtMs).toISOString() }),
    ...(hardExpiresAtMs !== undefined &&
      { hardExpiresAt: new Date(hardExpiresAtMs).toISOString() }),
  };
}

function asText({ credential }: Candidate): string {
  const secret = credentialSecret(credential).reveal();
  switch (credential.kind) {
    case "basic":
      return `username: ${credential.username}\npassword: ${secret}\n`;
    case "registry-token":
      return `registry token: ${secret}\n`;
    case "identity-token":
      return `username: ${credential.username}\nidentity token: ${secret}\n`;
  }
}
