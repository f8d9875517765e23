import type { AgentConfig } from "../config/mod.ts";
import {
  AgentError,
  type Candidate,
  credentialSecret,
  credentialUsername,
  type ImageReference,
  parseDurationMs,
  parseImageReference,
  REASON_CODES,
} from "../model/mod.ts";
import { queryApi, warnAboutAgent } from "./api_client.ts";
import { openChain } from "../agent/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadClientConfig, loadConfig } from "../config/mod.ts";
import { printable } from "./table.ts";

/** Options of `get`. */
export interface GetOptions {
  readonly ref: string;
  readonly labels: readonly string[];
  readonly validFor?: string;
  readonly output: string;
}

/** A credential as the local API gives it. */
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

/** An answer of the running agent, or of the chain where none runs. */
type Got =
  | { readonly kind: "found"; readonly given: ServedCredential }
  | { readonly kind: "none"; readonly why: readonly string[] };

/**
 * `get REF`: prints the credential that the running agent would use, or that the chain finds where
 * none runs. Exit code 1, and nothing on stdout, when there is none.
 *
 * @throws {AgentError} `refused` when the agent does not answer the question.
 */
export async function get(context: Context, flags: Flags, options: GetOptions): Promise<number> {
  const image = parseImageReference(options.ref);
  labelsOf(options.labels);
  const validForMs = options.validFor === undefined ? undefined : parseDurationMs(options.validFor);
  const config = await loadClientConfig(context, flags);
  const got = await ask(context, flags, config, image, options);
  if (got.kind === "none") {
    const why = got.why.map((line) => `  ${printable(line)}\n`);
    context.host.err(`no credential for ${image.text}\n${why.join("")}`);
    return EXIT.failed;
  }
  const { given } = got;
  const endsAt = given.expiresAt ?? given.refreshAt;
  if (
    validForMs !== undefined && endsAt !== undefined &&
    Date.parse(endsAt) < context.clock.wallMs() + validForMs
  ) {
    context.host.err(
      "warning: the credential is the freshest there is, but lives shorter than asked\n",
    );
  }
  context.host.out(
    options.output === "json"
      ? JSON.stringify(asJson(image.text, given), null, 2) + "\n"
      : asText(given),
  );
  return EXIT.ok;
}

async function ask(
  context: Context,
  flags: Flags,
  config: AgentConfig,
  image: ImageReference,
  { labels: pairs, validFor }: GetOptions,
): Promise<Got> {
  const labels = labelsOf(pairs);
  const asked = await queryApi<ServedCredential>(config, {
    method: "POST",
    path: "/v1/credentials/get",
    body: { ref: image.text, labels, ...(validFor !== undefined && { validFor }) },
  });
  if (asked.kind === "answered") return { kind: "found", given: asked.body };
  if (asked.kind === "refused") {
    if (asked.code === "no-credential") return { kind: "none", why: asked.details };
    throw new AgentError("refused", `the agent refuses: ${asked.message}`);
  }
  warnAboutAgent(context, asked);
  await using chain = await openChain(context, await loadConfig(context, flags));
  const validForMs = validFor === undefined ? undefined : parseDurationMs(validFor);
  const { winner, attempts } = await chain.chain.resolve({
    image,
    labels,
    ...(validForMs !== undefined && { validUntilMs: context.clock.wallMs() + validForMs }),
  });
  if (winner !== undefined) {
    return { kind: "found", given: credentialOf(winner.provider, winner.candidates[0]) };
  }
  const why = attempts.map(({ provider, outcome }) => {
    const detail = outcome.kind === "failed" ? outcome.detail : REASON_CODES[outcome.reason];
    return `${provider}: ${outcome.reason}: ${detail}`;
  });
  return { kind: "none", why };
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

function credentialOf(provider: string, candidate: Candidate): ServedCredential {
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

function asJson(image: string, given: ServedCredential) {
  const { provider, credential, origin, fetchedAt, refreshAt, expiresAt } = given;
  return {
    image,
    provider,
    username: "",
    ...credential,
    origin,
    fetchedAt,
    ...(refreshAt !== undefined && { refreshAt }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
}

function asText({ credential }: ServedCredential): string {
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
