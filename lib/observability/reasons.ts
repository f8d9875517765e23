import type { ProviderName, ProviderOutcome, ReasonCode } from "../model/mod.ts";

// A record instead of lists, so that a new reason does not compile without an entry.
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

/** Reasons of the providers that use the Kubernetes API. */
const KUBERNETES_REASONS: readonly string[] = [
  "source-refused",
  "forbidden-by-rbac",
  "token-unavailable",
];

/** Returns the outcome of a provider that gives a reason. */
export function outcomeOf(reason: ReasonCode): ProviderOutcome["kind"] {
  return OUTCOME_OF[reason];
}

/** Whether a reason means that there is no credential, as for a public image. */
export function isNone(reason: ReasonCode): boolean {
  return OUTCOME_OF[reason] === "none";
}

/** Returns the reasons for which a provider can fail, so that metrics have no impossible series. */
export function failureReasons(provider: ProviderName): readonly string[] {
  return Object.entries(OUTCOME_OF)
    .filter(([reason, kind]) =>
      kind === "failed" && reason !== "registry-refused" && // returned by no provider
      (!reason.startsWith("plugin-") || provider === "kubelet") &&
      (!reason.startsWith("helper-") || provider === "docker") &&
      (!KUBERNETES_REASONS.includes(reason) || provider === "kubesecret" || provider === "kubelet")
    )
    .map(([reason]) => reason);
}
