import { accountName, type ProviderAttempt } from "../model/mod.ts";
import type { StoreEntry } from "../credentials/mod.ts";

/** Whether its source says that what it gave before, in someone's name, counts no more. */
export function isWithdrawn({ stored }: StoreEntry, attempts: readonly ProviderAttempt[]): boolean {
  const name = stored && accountName(stored.candidate);
  const attempt = attempts.find(({ provider, forEndpoint }) =>
    provider === stored?.provider && forEndpoint === stored.candidate.forEndpoint
  );
  if (name === undefined || attempt === undefined || attempt.outcome.kind === "found") return false;
  const { validAccounts = "unknown" } = attempt.outcome;
  return validAccounts !== "unknown" && !validAccounts.includes(name);
}

/** Whether a source goes by accounts, so that what a mount holds may be one's that is gone. */
export function isPerServiceAccount(attempts: readonly ProviderAttempt[]): boolean {
  return attempts.some(({ outcome }) =>
    outcome.kind === "found"
      ? outcome.candidates.some(({ account }) => account !== undefined)
      : outcome.validAccounts !== undefined
  );
}

/** What explains most: the first provider that failed, else the last that had nothing. */
export function failureOf(attempts: readonly ProviderAttempt[]) {
  const failed = attempts.find(({ outcome }) => outcome.kind === "failed");
  if (failed?.outcome.kind === "failed") {
    const { reason, detail, retryAtMs } = failed.outcome;
    return {
      failed: true,
      provider: failed.provider,
      reason,
      detail,
      ...(retryAtMs !== undefined && { retryAtMs }),
    };
  }
  const reason = attempts.at(-1)?.outcome.reason ?? "not-enabled";
  return {
    failed: false,
    provider: undefined,
    reason,
    detail: "no provider has a credential for this image",
  };
}
