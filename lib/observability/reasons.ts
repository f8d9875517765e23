import type { ProviderName, ProviderOutcome, ReasonCode } from "../model/mod.ts";

// A record rather than lists: the compiler asks for the reason that somebody adds.
const OUTCOME_OF: Readonly<Record<ReasonCode, ProviderOutcome["kind"]>> = {
  "found": "found",
  "found-in-cache": "found",
  "shared-execution": "found",
  "no-labels": "none",
  "incomplete-labels": "none",
  "not-enabled": "none",
  "no-pull-observed": "none",
  "no-config-file": "none",
  "no-entry-for-registry": "none",
  "anonymous-entry": "none",
  "incomplete-entry": "none",
  "helper-no-credential": "none",
  "helper-is-agent": "none",
  "plugin-not-matched": "none",
  "plugin-no-credential": "none",
  "no-pattern-matched": "none",
  "no-secret-matched": "none",
  "no-service-account": "none",
  "annotation-missing": "none",
  "invalid-config": "failed",
  "unreadable": "failed",
  "invalid-entry": "failed",
  "helper-missing": "failed",
  "helper-failed": "failed",
  "helper-timeout": "failed",
  "helper-invalid-response": "failed",
  "plugin-missing": "failed",
  "plugin-not-executable": "failed",
  "plugin-failed": "failed",
  "plugin-timeout": "failed",
  "plugin-too-much-output": "failed",
  "plugin-invalid-response": "failed",
  "plugin-backing-off": "failed",
  "deadline-exceeded": "failed",
  "source-unreachable": "failed",
  "source-refused": "failed",
  "token-unavailable": "failed",
  "forbidden-by-rbac": "failed",
  "registry-refused": "failed",
  "internal-error": "failed",
};

/** What only those say who ask the Kubernetes API. */
const KUBE_REASONS: readonly string[] = [
  "source-refused",
  "forbidden-by-rbac",
  "token-unavailable",
];

/** What a provider's answer is that has this reason. */
export function outcomeOf(reason: ReasonCode): ProviderOutcome["kind"] {
  return OUTCOME_OF[reason];
}

/** Whether the reason says that there is no credential: with it an image is public, not failing. */
export function isNone(reason: ReasonCode): boolean {
  return OUTCOME_OF[reason] === "none";
}

/**
 * The reasons for which a provider may fail. Plugins are the kubelet provider's and helpers are
 * docker's, so that no series stands for what cannot happen.
 */
export function failureReasons(provider: ProviderName): readonly string[] {
  return Object.entries(OUTCOME_OF)
    .filter(([reason, kind]) =>
      kind === "failed" && reason !== "registry-refused" && // no provider's, but the registry's
      (!reason.startsWith("plugin-") || provider === "kubelet") &&
      (!reason.startsWith("helper-") || provider === "docker") &&
      (!KUBE_REASONS.includes(reason) || provider === "kubesecret" || provider === "kubelet")
    )
    .map(([reason]) => reason);
}
