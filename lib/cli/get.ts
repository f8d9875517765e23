import { openChain } from "../agent/mod.ts";
import { type Flags, loadClientConfig, loadConfig } from "../config/mod.ts";
import {
  AgentError,
  type Candidate,
  credentialSecret,
  credentialUsername,
  defined,
  EXIT,
  type ImageReference,
  parseDurationMs,
  parseImageReference,
  REASON_CODES,
} from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { type ApiResult, queryApi, warnWithoutAgent } from "./agent_client.ts";
import { printable } from "./terminal_text.ts";

/** Options of `get`, and of `explain`. */
export interface LookupOptions {
  readonly ref: string;
  readonly labels: readonly string[];
  readonly validFor?: string;
  readonly output: string;
}

/** A credential as the local API returns it. */
export interface ServedCredential {
  readonly provider: string;
  readonly credential:
    | { readonly form: "basic"; readonly username: string; readonly password: string }
    | { readonly form: "registry-token"; readonly token: string }
    | { readonly form: "identity-token"; readonly username: string; readonly token: string };
  readonly origin: string;
  readonly fingerprint?: string;
  readonly fetchedAt: string;
  readonly refreshAt?: string;
  readonly expiresAt?: string;
}

/** The credential from the running agent, or from the provider chain without one. */
type Lookup =
  | { readonly kind: "found"; readonly served: ServedCredential }
  | { readonly kind: "none"; readonly reasons: readonly string[] };

/**
 * `get REF`: prints the credential that the running agent uses, or that the provider chain finds
 * when none runs. Without a credential, the exit code is 1 and nothing is written to stdout.
 *
 * @throws {AgentError} `refused` when the agent returns an error.
 */
export async function get(context: Context, flags: Flags, options: LookupOptions): Promise<number> {
  const { host, clock } = context;
  const image = parseImageReference(options.ref);
  const labels = parseLabels(options.labels);
  const validForMs = options.validFor === undefined ? undefined : parseDurationMs(options.validFor);
  const config = await loadClientConfig(context, flags);
  const { validFor } = options;
  const result = await queryApi<ServedCredential>(config, {
    method: "POST",
    path: "/v1/credentials/get",
    body: defined({ ref: image.text, labels, validFor }),
  });
  warnWithoutAgent(context, result);
  const lookup = lookupFrom(result) ??
    await queryProviders(context, flags, { image, labels, validForMs });
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
  host.out(
    options.output === "json"
      ? `${JSON.stringify(jsonOf(image.text, served), null, 2)}\n`
      : textOf(served),
  );
  return EXIT.ok;
}

/** Returns undefined when no agent answered. */
function lookupFrom(result: ApiResult<ServedCredential>): Lookup | undefined {
  switch (result.kind) {
    case "answered":
      return { kind: "found", served: result.body };
    case "refused":
      if (result.code === "no-credential") return { kind: "none", reasons: result.details };
      throw new AgentError("refused", `the agent returned an error: ${result.message}`);
    case "no-agent":
      return undefined;
  }
}

async function queryProviders(
  context: Context,
  flags: Flags,
  { image, labels, validForMs }: {
    readonly image: ImageReference;
    readonly labels: Readonly<Record<string, string>>;
    readonly validForMs: number | undefined;
  },
): Promise<Lookup> {
  await using chain = await openChain(context, await loadConfig(context, flags));
  const { winner, attempts } = await chain.chain.resolve({
    image,
    labels,
    ...(validForMs !== undefined && { validUntilMs: context.clock.wallMs() + validForMs }),
  });
  if (winner !== undefined) {
    return { kind: "found", served: servedCredential(winner.provider, winner.candidates[0]) };
  }
  const reasons = attempts.map(({ provider, outcome }) => {
    const detail = outcome.kind === "failed" ? outcome.detail : REASON_CODES[outcome.reason];
    return `${provider}: ${outcome.reason}: ${detail}`;
  });
  return { kind: "none", reasons };
}

/**
 * Parses labels from `key=value` arguments.
 *
 * @throws {AgentError} `usage` when one has no equals sign.
 */
export function parseLabels(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    // The value may be a secret, so the message does not quote it.
    if (at < 1) throw new AgentError("usage", "failed to parse --label: not of the form key=value");
    return [pair.slice(0, at), pair.slice(at + 1)];
  }));
}

function servedCredential(provider: string, candidate: Candidate): ServedCredential {
  const { credential, origin, fetchedAtMs, refreshAtMs, expiresAtMs } = candidate;
  const secret = credentialSecret(credential).reveal();
  const username = credentialUsername(credential);
  return {
    provider,
    credential: credential.kind === "basic"
      ? { form: "basic", username, password: secret }
      : credential.kind === "registry-token"
      ? { form: "registry-token", token: secret }
      : { form: "identity-token", username, token: secret },
    origin,
    fetchedAt: iso(fetchedAtMs),
    ...(refreshAtMs !== undefined && { refreshAt: iso(refreshAtMs) }),
    ...(expiresAtMs !== undefined && { expiresAt: iso(expiresAtMs) }),
  };
}

function jsonOf(image: string, served: ServedCredential) {
  const { provider, credential, origin, fetchedAt, refreshAt, expiresAt } = served;
  return {
    image,
    provider,
    username: "",
    ...credential,
    origin,
    fetchedAt,
    ...defined({ refreshAt, expiresAt }),
  };
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

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
