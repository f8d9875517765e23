/**
 * What is known of each live image's credential, and when its source is asked again. The schedule
 * is a pure function of state and time; the store knows no provider and holds no timer.
 *
 * @module
 */
export { CredentialStore } from "./credential_store.ts";
export {
  type Attempts,
  dueAtMs,
  jitterFor,
  type Lifetime,
  mandatoryAtMs,
  nextAttemptAtMs,
  type RenewalSettings,
  renewalWindow,
} from "./renewal_policy.ts";
export * from "./store_entry.ts";
