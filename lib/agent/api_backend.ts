import type { AgentConfig } from "../config/mod.ts";
import {
  AgentError,
  type Credential,
  credentialUsername,
  type ProviderAttempt,
  REASON_CODES,
} from "../model/mod.ts";
import type { CredentialAnswer, OnDemandRequests } from "../reconciler/mod.ts";
import {
  type CredentialChain,
  labelsCredential,
  type PushedCredentials,
} from "../providers/mod.ts";
import type { PushedCredential } from "../providers/mod.ts";
import type {
  ApiAgent,
  ApiCredential,
  ApiLifetime,
  ApiLogLevel,
  ApiLookup,
  ApiPut,
  ApiTarget,
} from "../api/mod.ts";
import type { Context } from "../platform/mod.ts";
import { explainImage } from "./explanation.ts";

/** What the local API is answered with. */
export interface ApiParts {
  readonly config: () => AgentConfig;
  readonly chain: () => CredentialChain;
  readonly onDemand: OnDemandRequests;
  readonly puts: PushedCredentials;
  readonly look: () => void;
  readonly status: () => object;
  readonly log: { level(): ApiLogLevel; setLevel(level: ApiLogLevel): void };
}

/** The running agent as the local API sees it. */
export function apiAgent(context: Context, parts: ApiParts): ApiAgent {
  const { config, chain, onDemand, puts, look, status, log } = parts;
  const endOf = ({ validForMs, validUntilMs }: ApiLifetime) =>
    validForMs === undefined ? validUntilMs : context.clock.wallMs() + validForMs;
  const question = ({ image, labels, ...lifetime }: ApiLookup) => {
    const validUntilMs = endOf(lifetime);
    return { image, labels, ...(validUntilMs !== undefined && { validUntilMs }) };
  };
  return {
    async credential(asked, options) {
      const { answer, attempts } = await onDemand.credential(question(asked), options);
      return { why: attempts.map(reasonOf), ...(answer && { found: credentialOf(answer) }) };
    },
    put(target, given, lifetime) {
      if (!config().providers.labels.enabled) {
        const text = "put a credential: providers.labels.enabled is false, which would take it";
        throw new AgentError("usage", text);
      }
      const nowMs = context.clock.wallMs();
      const untilMs = endOf(lifetime);
      if (untilMs !== undefined && untilMs <= nowMs) {
        throw new AgentError("usage", "put a credential: its life is over already");
      }
      const until = untilMs === undefined ? {} : { validUntilMs: untilMs };
      return putOf(puts.put(putTarget(target), servedCredential(given), until));
    },
    puts: () => puts.list().map(putOf),
    forget: (target) => puts.forget(putTarget(target)),
    refused: ({ image }, fingerprint, options) => onDemand.refused(image, fingerprint, options),
    explain: (asked) => explainImage(context, config(), chain(), question(asked)),
    status,
    reconcile: look,
    async renew(only, options) {
      if (config().renewal.enabled) return await onDemand.renew(only, options);
      throw new AgentError("usage", "renew: renewal is off (credential_renewal_interval)");
    },
    logLevel: () => log.level(),
    setLogLevel: (level) => log.setLevel(level),
  };
}

function reasonOf({ provider, outcome }: ProviderAttempt): string {
  const words = outcome.kind === "failed" ? outcome.detail : REASON_CODES[outcome.reason];
  return `${provider}: ${outcome.reason}: ${words}`;
}

function credentialOf({ candidate, ...rest }: CredentialAnswer): ApiCredential {
  const { credential, origin, fetchedAtMs, refreshAtMs, expiresAtMs } = candidate;
  return {
    ...rest,
    credential,
    origin,
    fetchedAtMs,
    ...(refreshAtMs !== undefined && { refreshAtMs }),
    ...(expiresAtMs !== undefined && { expiresAtMs }),
  };
}

function putTarget(target: ApiTarget): PushedCredential["target"] {
  return target.kind === "image" ? target : { kind: target.kind, registry: target.registry };
}

function servedCredential(given: Parameters<ApiAgent["put"]>[1]): Credential {
  if (isCredential(given)) return given;
  const credential = labelsCredential(given);
  if (typeof credential !== "string") return credential;
  throw new AgentError("usage", `read labels: ${REASON_CODES[credential]}`);
}

/** Labels have text as values, a credential a `Secret` among them. */
function isCredential(given: Parameters<ApiAgent["put"]>[1]): given is Credential {
  return Object.values(given).some((value) => typeof value !== "string");
}

function putOf({ target, credential, putAtMs, validUntilMs }: PushedCredential): ApiPut {
  const username = credentialUsername(credential);
  return {
    ...(target.kind === "image" ? { ref: target.image.text } : { registry: target.registry }),
    form: credential.kind,
    ...(username !== "" && { username }),
    putAtMs,
    ...(validUntilMs !== undefined && { validUntilMs }),
  };
}
