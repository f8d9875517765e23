import { type Flags, loadClientConfig, loadConfig } from "../config/mod.ts";
import {
  AgentError,
  type Candidate,
  type Clock,
  type CredentialRequest,
  defined,
  EXIT,
  parseDurationMs,
  parseImageReference,
  printable,
  revealCredential,
  type RevealedCredential,
} from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { queryApi, warnWithoutAgent } from "./agent_client.ts";
import { type CommandCall, type OutputFormat, printJson } from "./options.ts";

/** Options of `get`, and of `explain`. */
export interface LookupOptions {
  readonly label?: readonly string[];
  readonly validFor?: string;
  readonly output: OutputFormat;
}

/** A credential as the local API returns it. */
export interface ServedCredential {
  readonly provider: string;
  readonly credential: RevealedCredential;
  readonly origin: string;
  readonly fingerprint?: string;
  readonly fetchedAt: string;
  readonly refreshAt?: string;
  readonly expiresAt?: string;
  /** The service account that a plugin issued it for. */
  readonly account?: string;
}

/** The credential from the running agent, or from the provider chain without one. */
export type Lookup =
  | { readonly kind: "found"; readonly served: ServedCredential }
  | { readonly kind: "none"; readonly reasons: readonly string[] };

/** What to look up a credential for. */
export interface LookupRequest {
  /** The request to the local API: an image or a registry. */
  readonly body: object;
  /** The request to the providers without an agent. */
  readonly lookup: CredentialRequest;
}

/**
 * `get REF`: prints the credential that the running agent uses, or that the provider chain finds
 * when none runs. Without a credential, the exit code is 1 and nothing is written to stdout.
 *
 * @throws {AgentError} `refused` when the agent returns an error.
 */
export async function get(
  { context, flags, args: [ref], options }: CommandCall<LookupOptions>,
): Promise<number> {
  const { host, clock } = context;
  const request = lookupRequest(ref, options, clock);
  const { image, validUntilMs = -Infinity } = request.lookup;
  const lookup = await lookUp(context, flags, request);
  if (lookup.kind === "none") {
    const reasons = lookup.reasons.map((line) => `  ${printable(line)}\n`);
    host.err(`no credential for ${image.text}\n${reasons.join("")}`);
    return EXIT.failed;
  }
  const { served } = lookup;
  const endsAtMs = Date.parse(served.expiresAt ?? served.refreshAt ?? "");
  if (endsAtMs < validUntilMs) {
    host.err("warning: no credential with the requested validity; this one is newest\n");
  }
  if (options.output === "json") printJson(context, jsonOf(image.text, served));
  else host.out(textOf(served));
  return EXIT.ok;
}

/**
 * Looks up a credential in the running agent, or in the provider chain when none answers.
 *
 * @throws {AgentError} `refused` when the agent returns an error.
 */
export async function lookUp(
  context: Context,
  flags: Flags,
  { body, lookup }: LookupRequest,
): Promise<Lookup> {
  const config = await loadClientConfig(context, flags);
  const path = "/v1/credentials/get";
  const result = await queryApi<ServedCredential>(config, { method: "POST", path, body });
  if (result.kind === "answered") return { kind: "found", served: result.body };
  if (result.kind === "refused") {
    if (result.code === "no-credential") return { kind: "none", reasons: result.details };
    throw new AgentError("refused", `the agent returned an error: ${result.message}`);
  }
  warnWithoutAgent(context, result);
  const { attemptText, openChain } = await import("../agent/mod.ts");
  await using opened = await openChain(context, await loadConfig(context, flags));
  const { winner, attempts } = await opened.chain.resolve(lookup);
  return winner === undefined
    ? { kind: "none", reasons: attempts.map(attemptText) }
    : { kind: "found", served: servedCredential(winner.provider, winner.candidates[0]) };
}

/**
 * Parses what `get` and `explain` look up.
 *
 * @throws {AgentError} `usage`, `invalid-reference` or `invalid-duration`.
 */
export function lookupRequest(
  ref: string,
  { label: pairs = [], validFor }: LookupOptions,
  clock: Clock,
): LookupRequest {
  const image = parseImageReference(ref);
  const labels = parseLabels(pairs);
  const validUntilMs = validFor === undefined
    ? undefined
    : clock.wallMs() + parseDurationMs(validFor);
  return {
    body: defined({ ref: image.text, labels, validFor }),
    lookup: defined({ image, labels, validUntilMs }),
  };
}

/** Parses labels from `key=value` arguments. */
function parseLabels(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    // The value may be a secret, so the message does not quote it.
    if (at < 1) throw new AgentError("usage", "failed to parse --label: not of the form key=value");
    return [pair.slice(0, at), pair.slice(at + 1)];
  }));
}

function servedCredential(provider: string, candidate: Candidate): ServedCredential {
  const { credential, origin, fetchedAtMs, refreshAtMs, expiresAtMs } = candidate;
  const iso = (ms: number | undefined) => ms === undefined ? undefined : new Date(ms).toISOString();
  return {
    provider,
    credential: revealCredential(credential),
    origin,
    fetchedAt: new Date(fetchedAtMs).toISOString(),
    ...defined({ refreshAt: iso(refreshAtMs), expiresAt: iso(expiresAtMs) }),
  };
}

function jsonOf(image: string, { credential, fingerprint: _, ...served }: ServedCredential) {
  return { image, username: "", ...credential, ...served };
}

function textOf({ credential }: ServedCredential): string {
  switch (credential.form) {
    case "basic":
      return `username: ${credential.username}\npassword: ${credential.password}\n`;
    case "registry-token":
      return `registry token: ${credential.token}\n`;
    case "identity-token":
      return `username: ${credential.username}\nidentity token: ${credential.token}\n`;
  }
}
