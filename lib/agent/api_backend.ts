import type { ApiAgent, ApiCredential, ApiLifetime, ApiLookup, ApiPut } from "../api/mod.ts";
import {
  AgentError,
  type Credential,
  credentialUsername,
  defined,
  type ProviderAttempt,
  REASON_CODES,
} from "../model/mod.ts";
import type { LogLevel } from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import { labelsCredential, type PushedCredential } from "../providers/mod.ts";
import type { CredentialAnswer } from "../reconciler/mod.ts";
import type { Agent } from "./agent.ts";
import { explainImage } from "./explanation.ts";
import type { NodeHealth } from "./listeners.ts";

/** Adapts the running agent to the port of the local API. */
export function createApiBackend(
  context: Context,
  { config, chain, onDemand, pushed, reconcile }: Agent["api"],
  health: NodeHealth,
  log: { level(): LogLevel; setLevel(level: LogLevel): void },
): ApiAgent {
  const expiryOf = ({ validForMs, validUntilMs }: ApiLifetime) =>
    validForMs === undefined ? validUntilMs : context.clock.wallMs() + validForMs;
  const requestOf = ({ image, labels, ...lifetime }: ApiLookup) => {
    return defined({ image, labels, validUntilMs: expiryOf(lifetime) });
  };
  return {
    async credential(lookup, options) {
      const { answer, attempts } = await onDemand.credential(requestOf(lookup), options);
      return { why: attempts.map(attemptText), ...(answer && { found: credentialOf(answer) }) };
    },
    put(target, { credential, labels = {} }, lifetime) {
      if (!config().providers.labels.enabled) {
        throw new AgentError(
          "usage",
          "failed to store the credential: providers.labels.enabled is false",
        );
      }
      const validUntilMs = expiryOf(lifetime);
      if (validUntilMs !== undefined && validUntilMs <= context.clock.wallMs()) {
        throw new AgentError("usage", "failed to store the credential: it has already expired");
      }
      const expiry = defined({ validUntilMs });
      return putOf(pushed.put(target, credential ?? credentialIn(labels), expiry));
    },
    puts: () => pushed.list().map(putOf),
    forget: (target) => pushed.forget(target),
    refused: ({ image }, fingerprint, options) => onDemand.refused(image, fingerprint, options),
    explain: (lookup) => explainImage(context, config(), chain(), requestOf(lookup)),
    status: () => ({ ...health.status(), health: health.view() }),
    reconcile,
    async renew(only, options) {
      if (config().renewal.enabled) return await onDemand.renew(only, options);
      throw new AgentError(
        "usage",
        "failed to renew: renewal is off (credential_renewal_interval)",
      );
    },
    logLevel: () => log.level(),
    setLogLevel: (level) => log.setLevel(level),
  };
}

/** Describes the result of one provider. */
export function attemptText({ provider, outcome }: ProviderAttempt): string {
  const detail = outcome.kind === "failed" ? outcome.detail : REASON_CODES[outcome.reason];
  return `${provider}: ${outcome.reason}: ${detail}`;
}

function credentialOf({ candidate, ...rest }: CredentialAnswer): ApiCredential {
  const { credential, origin, fetchedAtMs, refreshAtMs, expiresAtMs, account } = candidate;
  const times = { fetchedAtMs, refreshAtMs, expiresAtMs };
  return { ...rest, ...defined({ credential, origin, account, ...times }) };
}

function credentialIn(labels: Readonly<Record<string, string>>): Credential {
  const credential = labelsCredential(labels);
  if (typeof credential !== "string") return credential;
  throw new AgentError("usage", `failed to read labels: ${REASON_CODES[credential]}`);
}

function putOf({ target, credential, putAtMs, validUntilMs }: PushedCredential): ApiPut {
  const username = credentialUsername(credential);
  return {
    ...(target.kind === "image" ? { ref: target.image.text } : { registry: target.registry }),
    ...(username !== "" && { username }),
    ...defined({ form: credential.kind, putAtMs, validUntilMs }),
  };
}
