import {
  type Candidate,
  type Credential,
  credentialUsername,
  type Daemon,
  decodeRegistryAuth,
  type DeliveryState,
  type RafsInstance,
  type Secret,
  tokenExpiryOf,
  unapprovedHosts,
} from "../model/mod.ts";
import type { StoreEntry } from "../credentials/mod.ts";
import type { InstanceRecord, UnapprovedHosts } from "./mount_records.ts";

/** What to do about one mount. */
export type InstancePlan = PlannedStep & { readonly unapproved?: UnapprovedHosts };

type PlannedStep =
  | { readonly kind: "deliver"; readonly credential: Credential }
  | { readonly kind: "adopt"; readonly candidate: Candidate }
  | { readonly kind: "in-sync"; readonly state: DeliveryState; readonly detail?: string };

/** Everything that the decision depends on. */
export interface PlanInput {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
  readonly record: InstanceRecord;
  readonly entry: StoreEntry | undefined;
  /** A provider is being asked for this image right now, for the first time. */
  readonly resolving: boolean;
  /** For a mount that has no credential when no provider has one either. */
  readonly remembered: Candidate | undefined;
  /** What to do where a credential would be shown to hosts that nobody named. */
  readonly unapprovedHostPolicy: "warn" | "refuse";
  readonly nowMs: number;
}

/**
 * Compares what one mount holds with what it should hold. Pure: the whole of the level-triggered
 * rule of delivery is here.
 */
export function planInstance(input: PlanInput): InstancePlan {
  const { instance, entry, unapprovedHostPolicy } = input;
  if (entry?.stored === undefined) return planStep(input);
  const { candidate, provider } = entry.stored;
  const hosts = unapprovedHosts(instance.endpoint, candidate);
  if (hosts.length === 0) return planStep(input);
  if (unapprovedHostPolicy === "warn") {
    return { ...planStep(input), unapproved: { hosts, action: "delivered" } };
  }
  const unapproved: UnapprovedHosts = { hosts, action: "withheld" };
  // What nydusd holds already is not ours to take away, and not to be given to another either.
  const kept = provider === "adopted" ? planStep(input) : undefined;
  if (kept !== undefined && kept.kind !== "deliver") return { ...kept, unapproved };
  const detail = `nydusd would show it to ${hosts.join(", ")}, which nothing names as a place ` +
    `for credentials of ${instance.image?.registry}: see delivery.allowed_hosts`;
  return { kind: "in-sync", state: "withheld", detail, unapproved };
}

function planStep(input: PlanInput): PlannedStep {
  const { instance, entry, record, resolving } = input;
  if (instance.image === undefined) {
    const detail = instance.imageProblem ?? "the image of this mount is not known";
    return { kind: "in-sync", state: "none", detail };
  }
  const stored = entry?.stored;
  if (stored === undefined) {
    if (resolving || entry?.attempts.lastAtMs === undefined) {
      return { kind: "in-sync", state: "pending", detail: "the providers are being asked" };
    }
    return planWithoutSource(input);
  }
  if (stored.provider === "adopted") return planAdopted(input, stored.candidate.credential);
  const { credential } = stored.candidate;
  const wanted = stored.registryAuth;
  const fileDone = record.fileFingerprint === stored.fingerprint;
  if (wanted === undefined) {
    return fileDone
      ? { kind: "in-sync", state: record.state, ...detailOf(record) }
      : { kind: "deliver", credential };
  }
  const currentAuth = currentAuthOf(input);
  if (currentAuth !== undefined && currentAuth.equals(wanted)) {
    return fileDone ? { kind: "in-sync", state: "stored" } : { kind: "deliver", credential };
  }
  // What is got in someone's name takes the place of another's, however long that would live.
  const isNamed = stored.candidate.account !== undefined;
  // What was found for another host than the image's registry takes the place of the registry's.
  const isOther = stored.candidate.forEndpoint === true;
  if (
    currentAuth !== undefined && !isNamed && !isOther &&
    outlives(currentAuth, credential, input.nowMs)
  ) {
    const detail = "nydusd holds a credential of the same user that lives longer than ours";
    return { kind: "in-sync", state: "stored", detail };
  }
  const down = daemonDown(input.daemon);
  if (down !== undefined && (fileDone || instance.configPath === undefined)) return down;
  if (record.state === "file-only" && fileDone && input.daemon.configApi === "unsupported") {
    return { kind: "in-sync", state: "file-only", ...detailOf(record) };
  }
  return { kind: "deliver", credential };
}

function planWithoutSource(input: PlanInput): PlannedStep {
  const down = daemonDown(input.daemon);
  if (down !== undefined) return down;
  const currentAuth = currentAuthOf(input);
  if (input.entry?.attempts.perServiceAccount) return notShared(currentAuth);
  // A running nydusd accepts no other kind.
  const remembered = input.remembered?.credential.kind === "basic" ? input.remembered : undefined;
  const candidate = holdsNothing(input)
    ? remembered
    : currentAuth && adoptable(currentAuth, input.daemon, input.nowMs);
  if (candidate !== undefined) return { kind: "adopt", candidate };
  const detail = "no provider has a credential for this image, and nydusd holds none";
  return { kind: "in-sync", state: "none", detail };
}

function planAdopted(input: PlanInput, credential: Credential): PlannedStep {
  const down = daemonDown(input.daemon);
  if (down !== undefined) return down;
  const currentAuth = currentAuthOf(input);
  if (input.entry?.attempts.perServiceAccount) return notShared(currentAuth);
  // Another mount of this image, or this one before its nydusd restarted, held the credential.
  if (credential.kind === "basic" && holdsNothing(input)) return { kind: "deliver", credential };
  const detail = "no provider has a credential; the one that nydusd holds is kept";
  return { kind: "in-sync", state: "adopted", detail };
}

/**
 * Where sources go by pods' accounts, what a mount holds may be what one got that is gone by now,
 * or has no pod here: it stays where it is, and is given to no other mount.
 */
function notShared(currentAuth: Secret | undefined): PlannedStep {
  if (currentAuth === undefined || currentAuth.isEmpty) {
    const detail = "no pod's account has a credential for this image, and nydusd holds none";
    return { kind: "in-sync", state: "none", detail };
  }
  const detail = "no pod's account has a credential; what nydusd holds stays with this mount";
  return { kind: "in-sync", state: "adopted", detail };
}

function daemonDown(daemon: Daemon): PlannedStep | undefined {
  if (daemon.state === "running") return undefined;
  const detail = `nydusd is ${daemon.state}${daemon.stateDetail ? `: ${daemon.stateDetail}` : ""}`;
  return { kind: "in-sync", state: "unreachable", detail };
}

/** What the mount holds, as far as the last look or delivery knows. */
function currentAuthOf({ daemon, record }: PlanInput): Secret | undefined {
  return daemon.state === "running" ? record.currentAuth : undefined;
}

/**
 * Whether nydusd reads without a credential. One that started without a credential lists no key for
 * the mount, not an empty value.
 */
function holdsNothing(input: PlanInput): boolean {
  const { daemon, instance } = input;
  if (daemon.state !== "running" || daemon.configApi !== "supported") return false;
  if (instance.mountId === undefined) return false;
  return currentAuthOf(input)?.isEmpty ?? true;
}

function adoptable(currentAuth: Secret, daemon: Daemon, nowMs: number): Candidate | undefined {
  const credential = decodeCurrentAuth(currentAuth);
  if (credential === undefined) return undefined;
  const { expiresAtMs } = tokenExpiryOf(credential, nowMs);
  return {
    credential,
    origin: `held by nydusd ${daemon.id}`,
    fetchedAtMs: nowMs,
    watched: true,
    ...(expiresAtMs !== undefined && { expiresAtMs: expiresAtMs }),
  };
}

/** A token that tells its end, of the same user, and ends later than ours: someone renewed it. */
function outlives(currentAuth: Secret, ours: Credential, nowMs: number): boolean {
  const credential = decodeCurrentAuth(currentAuth);
  if (credential === undefined || credentialUsername(credential) !== credentialUsername(ours)) {
    return false;
  }
  const theirs = tokenExpiryOf(credential, nowMs).expiresAtMs;
  const mine = tokenExpiryOf(ours, nowMs).expiresAtMs;
  return theirs !== undefined && mine !== undefined && theirs > mine;
}

function decodeCurrentAuth(currentAuth: Secret): Credential | undefined {
  try {
    return decodeRegistryAuth(currentAuth.reveal());
  } catch {
    return undefined; // nydusd takes any text; one that is no credential is not worth keeping
  }
}

function detailOf(record: InstanceRecord): { readonly detail?: string } {
  return record.detail === undefined ? {} : { detail: record.detail };
}
