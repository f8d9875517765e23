/**
 * The heartbeat: it alone knows discovery, resolution, store and delivery, and passes plain values
 * between them, so that each can be tested with literals.
 *
 * @module
 */
export {
  type Decision,
  Selections,
  type SelectionsOptions,
  type Selector,
} from "./candidate_selection.ts";
export type { Deliverer } from "./deliveries.ts";
export { type InstanceRecord, MountRecords, recordAfter, retryDelayMs } from "./mount_records.ts";
export {
  type CredentialAnswer,
  OnRequest,
  type OnRequestOptions,
  type RenewalRequest,
  type Renewed,
  type Reported,
} from "./on_request.ts";
export { type InstancePlan, type PlanInput, planInstance } from "./plan.ts";
export { type ReadCounter, type ReadFinding, ReadWatch } from "./read_watch.ts";
export {
  type Discoverer,
  Reconciler,
  type ReconcilerOptions,
  type ReconcileStages,
} from "./reconciler.ts";
export { Renewals, type RenewalsOptions, type Resolver } from "./renewals.ts";
export { type TriggerReason, Triggers } from "./triggers.ts";
