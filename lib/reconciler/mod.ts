/**
 * Reconcile loop: discover instances, diff desired against observed credentials, renew entries that
 * are due, deliver changes. The only package that knows discovery, providers, store and delivery;
 * it passes plain values between them.
 *
 * Read `plan.ts` first (what to do for one mount), then `reconciler.ts` (the loop).
 *
 * @module
 */
export type { ReconcilerContext, ReconcileStages } from "./context.ts";
export { Mounts } from "./mounts.ts";
export { type CredentialAnswer, OnDemandRequests } from "./on_demand.ts";
export { Reconciler } from "./reconciler.ts";
export { Renewals } from "./renewals.ts";
