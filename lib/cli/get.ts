import type { openChain } from "../agent/mod.ts";
import { type AgentConfig, type Flags, loadClientConfig, loadConfig } from "../config/mod.ts";
import {
  AgentError,
  type Candidate,
  type CredentialRequest,
  defined,
  EXIT,
  type ImageReference,
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

type CredentialChain = Awaited<ReturnType<typeof openChain>>["chain"];

/** What to look up a credential for. */
export interface LookupRequest {
  /** The request to the local API: an image or a registry. */
  readonly body: object;
  /** The image that providers are queried for without an agent. */
  readonly image: ImageReference;
  readonly labels: Readonly<Record<string, string>>;
  readonly validForMs?: number | undefined;
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
  const request = lookupRequest(ref, options);
  const { image, validForMs } = request;
  const lookup = await lookUp(context, flags, request);
  if (lookup.kind === "none") {
    const reasons = lookup.reasons.map((line) => `  ${printable(line)}\n`);
    host.err(`no credential for ${image.text}\n${reasons.join("")}`);
    return EXIT.failed;
  }
  const { served } = lookup;
  const endsAt = served.expiresAt ?? served.refreshAt;
  const isShort = validForMs !== undefined && endsAt !== undefined &&
    Date.parse(endsAt) < clock.wallMs() + validForMs;
  if (isShort) host.err("warning: no credential with the requested validity; this one is newest\n");
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
  request: LookupRequest,
): Promise<Lookup> {
  const config = await loadClientConfig(context, flags);
  const { body } = request;
  const path = "/v1/credentials/get";
  const result = await queryApi<ServedCredential>(config, { method: "POST", path, body });
  if (result.kind === "answered") return { kind: "found", served: result.body };
  if (result.kind === "refused") {
    if (result.code === "no-credential") return { kind: "none", reasons: result.details };
    throw new AgentError("refused", `the agent returned an error: ${result.message}`);
  }
  warnWithoutAgent(context, result);
  const { attemptText } = await import("../agent/mod.ts");
  const { winner, attempts } = await withChain(
    context,
    flags,
    request,
    (chain, lookup) => chain.resolve(lookup),
  );
  return winner === undefined
    ? { kind: "none", reasons: attempts.map(attemptText) }
    : { kind: "found", served: servedCredential(winner.provider, winner.candidates[0]) };
}

/** Calls `use` with the provider chain, for a lookup that no agent answers. */
export async function withChain<T>(
  context: Context,
  flags: Flags,
  { image, labels, validForMs }: LookupRequest,
  use: (chain: CredentialChain, lookup: CredentialRequest, config: AgentConfig) => Promise<T>,
): Promise<T> {
  const { openChain } = await import("../agent/mod.ts");
  const config = await loadConfig(context, flags);
  await using opened = await openChain(context, config);
  const validUntilMs = validForMs && context.clock.wallMs() + validForMs;
  return await use(opened.chain, defined({ image, labels, validUntilMs }), config);
}

/**
 * Parses what `get` and `explain` look up.
 *
 * @throws {AgentError} `usage`, `invalid-reference` or `invalid-duration`.
 */
export function lookupRequest(
  ref: string,
  { label: pairs = [], validFor }: LookupOptions,
): LookupRequest {
  const image = parseImageReference(ref);
  const labels = parseLabels(pairs);
  const validForMs = validFor === undefined ? undefined : parseDurationMs(validFor);
  return { body: defined({ ref: image.text, labels, validFor }), image, labels, validForMs };
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
