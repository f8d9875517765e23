/**
 * Delivery plan: compares the desired credential of one mount with the observed one and decides
 * what to do. Pure: the reconciler calls it on every pass for every mount, so that a missed event
 * or a failed delivery is repaired by the next pass.
 *
 * @module
 */
import {
  type Candidate,
  type Credential,
  credentialUsername,
  type Daemon,
  defined,
  type DeliveryState,
  type RafsInstance,
  type Secret,
  tokenExpiryOf,
  unapprovedHosts,
} from "../model/mod.ts";
import type { StoreEntry } from "../credentials/mod.ts";
import {
  candidateInNydusd,
  decodeCurrentAuth,
  type InstanceRecord,
  type UnapprovedHosts,
} from "./mounts.ts";

/** What to do for one mount. */
export type InstancePlan = PlannedAction & { readonly unapproved?: UnapprovedHosts };

type PlannedAction =
  /** Deliver the credential to nydusd and to the configuration file. */
  | { readonly kind: "deliver"; readonly credential: Credential }
  /** Add a credential that no provider has to the store. */
  | { readonly kind: "adopt"; readonly candidate: Candidate }
  /** Nothing to do; record this state. */
  | { readonly kind: "no-op"; readonly state: DeliveryState; readonly detail?: string };

/** Everything that a plan depends on. */
export interface PlanInput {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
  readonly record: InstanceRecord;
  /** The store entry of the mount's image. */
  readonly entry: StoreEntry | undefined;
  /** The credential of an earlier pull of the image. */
  readonly remembered: Candidate | undefined;
  /** What to do when nydusd would send a credential to unapproved hosts. */
  readonly unapprovedHostPolicy: "warn" | "refuse";
  readonly nowMs: number;
}

/** Plans one mount. Checks first that nydusd sends the credential to approved hosts only. */
export function planInstance(input: PlanInput): InstancePlan {
  const { instance, entry, unapprovedHostPolicy } = input;
  const stored = entry?.stored;
  const hosts = stored ? unapprovedHosts(instance.endpoint, stored.candidate) : [];
  const action = planAction(input);
  if (hosts.length === 0) return action;
  if (unapprovedHostPolicy === "warn") {
    return { ...action, unapproved: { hosts, action: "delivered" } };
  }
  const unapproved: UnapprovedHosts = { hosts, action: "withheld" };
  // A credential that nydusd has already stays there, but is not delivered to other mounts.
  if (stored?.provider === "adopted" && action.kind !== "deliver") return { ...action, unapproved };
  const detail = `nydusd would send it to ${hosts.join(", ")}, which is not approved for ` +
    `credentials of ${instance.image?.registry}: see delivery.allowed_hosts`;
  return { ...noOp("withheld", detail), unapproved };
}

function planAction(input: PlanInput): PlannedAction {
  const { daemon, instance, entry } = input;
  if (instance.image === undefined) {
    return noOp("none", instance.imageProblem ?? "the image of this mount is unknown");
  }
  const stored = entry?.stored;
  if (stored !== undefined && stored.provider !== "adopted") return planStored(input, stored);
  if (stored === undefined && entry?.attempts.lastAtMs === undefined) {
    return noOp("pending", "the first request to the providers is in flight");
  }
  const unreachable = planUnreachable(daemon);
  if (unreachable !== undefined) return unreachable;
  if (entry?.attempts.perServiceAccount) return planPerServiceAccount(input);
  return stored ? planAdopted(input, stored.candidate.credential) : planWithoutCredential(input);
}

/** A provider has a credential: deliver it unless nydusd and the configuration file have it. */
function planStored(
  input: PlanInput,
  { candidate, fingerprint, registryAuth }: NonNullable<StoreEntry["stored"]>,
): PlannedAction {
  const { daemon, instance, record, nowMs } = input;
  const { credential } = candidate;
  const deliver: PlannedAction = { kind: "deliver", credential };
  const fileDone = record.fileFingerprint === fingerprint;
  if (registryAuth === undefined) return fileDone ? noOp(record.state, record.detail) : deliver;
  const currentAuth = currentAuthOf(input);
  if (currentAuth?.equals(registryAuth)) return fileDone ? noOp("stored") : deliver;
  // A credential for a service account or for the mount's endpoint is more specific than the one
  // in nydusd, and replaces it however late that expires.
  const isSpecific = candidate.account !== undefined || candidate.forEndpoint === true;
  if (!isSpecific && expiresLater(currentAuth, credential, nowMs)) {
    return noOp("stored", "nydusd has a credential of the same user that expires later");
  }
  if (fileDone || instance.configPath === undefined) {
    const unreachable = planUnreachable(daemon);
    if (unreachable !== undefined) return unreachable;
  }
  if (record.state === "file-only" && fileDone && daemon.configApi === "unsupported") {
    return noOp("file-only", record.detail);
  }
  return deliver;
}

/** No provider has a credential: adopt the one in nydusd, or that of an earlier pull. */
function planWithoutCredential(input: PlanInput): PlannedAction {
  const { daemon, remembered, nowMs } = input;
  if (lacksCredential(input)) {
    // A running nydusd accepts no other kind.
    if (remembered?.credential.kind === "basic") return { kind: "adopt", candidate: remembered };
  } else {
    const credential = decodeCurrentAuth(currentAuthOf(input));
    if (credential !== undefined) {
      const candidate = candidateInNydusd(credential, `nydusd ${daemon.id}`, nowMs);
      return { kind: "adopt", candidate };
    }
  }
  return noOp("none", "neither a provider nor nydusd has a credential for this image");
}

/** An adopted credential is delivered only to mounts that have none, for example after a restart. */
function planAdopted(input: PlanInput, credential: Credential): PlannedAction {
  if (credential.kind === "basic" && lacksCredential(input)) return { kind: "deliver", credential };
  return noOp("adopted", "no provider has a credential; the one in nydusd is kept");
}

/**
 * Providers return credentials per service account, and none has one. The credential in nydusd may
 * be of a service account without a pod: it stays, but is not shared with other mounts.
 */
function planPerServiceAccount(input: PlanInput): PlannedAction {
  return currentAuthOf(input)?.isEmpty ?? true
    ? noOp("none", "neither a service account nor nydusd has a credential for this image")
    : noOp("adopted", "no service account has a credential; the one in nydusd is kept");
}

function planUnreachable({ state, stateDetail }: Daemon): PlannedAction | undefined {
  if (state === "running") return undefined;
  return noOp("unreachable", `nydusd is ${state}${stateDetail ? `: ${stateDetail}` : ""}`);
}

/** The credential in nydusd, as far as it is known. */
function currentAuthOf({ daemon, record }: PlanInput): Secret | undefined {
  return daemon.state === "running" ? record.currentAuth : undefined;
}

/**
 * Whether nydusd is known to have no credential for the mount. One that started without a
 * credential lists no key for the mount instead of an empty value.
 */
function lacksCredential(input: PlanInput): boolean {
  const { daemon, instance } = input;
  if (daemon.state !== "running" || daemon.configApi !== "supported") return false;
  return instance.mountId !== undefined && (currentAuthOf(input)?.isEmpty ?? true);
}

/** Whether nydusd has a token of the same user that expires later: another client renewed it. */
function expiresLater(currentAuth: Secret | undefined, ours: Credential, nowMs: number): boolean {
  const theirs = decodeCurrentAuth(currentAuth);
  if (theirs === undefined || credentialUsername(theirs) !== credentialUsername(ours)) return false;
  const theirExpiryMs = tokenExpiryOf(theirs, nowMs).expiresAtMs ?? -Infinity;
  return theirExpiryMs > (tokenExpiryOf(ours, nowMs).expiresAtMs ?? Infinity);
}

function noOp(state: DeliveryState, detail?: string): Extract<PlannedAction, { kind: "no-op" }> {
  return defined({ kind: "no-op" as const, state, detail });
}
