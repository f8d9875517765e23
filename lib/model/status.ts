import * as v from "valibot";
import { DAEMON_STATES, DELIVERY_STATES } from "./instance.ts";
import {
  EXECUTION_RESULTS,
  PROVIDER_NAMES,
  PROVIDER_OUTCOMES,
  REASON_CODES,
  type ReasonCode,
} from "./provider.ts";

/** `T` without write access, at any depth. */
export type Immutable<T> = { readonly [K in keyof T]: Immutable<T[K]> };

/** Returns fields with one schema. */
export function fields<Schema extends v.GenericSchema, Name extends string>(
  schema: Schema,
  ...names: Name[]
): Record<Name, Schema> {
  return Object.fromEntries(names.map((name) => [name, schema])) as Record<Name, Schema>;
}

/** Returns fields with one schema, which may be absent. */
export function optionalFields<Schema extends v.GenericSchema, Name extends string>(
  schema: Schema,
  ...names: Name[]
): Record<Name, v.ExactOptionalSchema<Schema, undefined>> {
  return fields(v.exactOptional(schema), ...names);
}

const text = v.string();
const count = v.pipe(v.number(), v.minValue(0));
/** A wall time (ms). Documents have it in RFC 3339, and its name without `Ms`. */
export const wallTimeMs = v.number();
const durationMs = v.pipe(v.number(), v.description("A duration in milliseconds."));
const reason = v.picklist(Object.keys(REASON_CODES) as ReasonCode[]);
const providerName = v.picklist(PROVIDER_NAMES);
const failure = v.strictObject({ reason, detail: text, atMs: wallTimeMs });

export const RENEWAL_WINDOWS = [
  ...["fresh", "advisory", "mandatory", "expired", "unknown-lifetime"] as const,
] as const;
/** Part of its lifetime that a credential is in; `unknown-lifetime` without a known expiry. */
export type RenewalWindow = (typeof RENEWAL_WINDOWS)[number];

export const CRI_PROXY_STATES = [
  "in-path", // the CRI socket symlink points to the proxy
  "switched-off", // a user switched it off; the symlink points to the container runtime
  "bypassed", // the proxy is serving, but the symlink points elsewhere
  "not-serving", // the proxy failed to start
] as const;

/** An image that is in use by a mount, or was until recently. */
const imageSchema = v.strictObject({
  image: text,
  /** Where its mounts read it from, if not from its registry. */
  endpoint: v.exactOptional(text),
  /** Whether the credential was found for `endpoint`, or for the image's own registry. */
  foundFor: v.exactOptional(v.picklist(["endpoint", "registry"])),
  /** Absent if no provider has a credential; `adopted` if nydusd keeps its current one. */
  provider: v.exactOptional(v.picklist([...PROVIDER_NAMES, "adopted"])),
  ...optionalFields(text, "origin", "pattern", "plugin", "fingerprint"),
  /** Why this one of several candidates was selected. */
  selectionReason: v.exactOptional(text),
  window: v.exactOptional(v.picklist(RENEWAL_WINDOWS)),
  ...optionalFields(wallTimeMs, "renewedAtMs", "refreshAtMs", "expiresAtMs"),
  /** When the source is queried next; absent if it is watched. */
  nextAttemptAtMs: v.exactOptional(wallTimeMs),
  /** Failed attempts since the last success. */
  failures: count,
  lastFailure: v.exactOptional(failure),
  renewals: v.strictObject(fields(count, "success", "failure")),
});

const mountSchema = v.strictObject({
  snapshotId: text,
  ...optionalFields(text, "image", "imageProblem", "mountId"),
  /** The endpoint of the image's credential. */
  endpoint: v.exactOptional(text),
  /** The host that nydusd connects to, if it is not the image's registry. */
  host: v.exactOptional(text),
  /** What approves that host, for display; absent if nothing does. */
  hostApprovedBy: v.exactOptional(text),
  /** Unapproved hosts that receive the credential. */
  unapprovedHosts: v.exactOptional(v.array(text)),
  /** Time of the first failed read in a row; absent while reads succeed. */
  readsFailingSinceMs: v.exactOptional(wallTimeMs),
  delivery: v.picklist(DELIVERY_STATES),
  /** Successful reads since the credential is in use; absent after a failure. */
  provenReads: v.exactOptional(count),
  deliveryDetail: v.exactOptional(text),
  deliveredAtMs: v.exactOptional(wallTimeMs),
  /** Time since which nydusd uses an older credential than its configuration file has. */
  behindSinceMs: v.exactOptional(wallTimeMs),
  file: v.exactOptional(text),
  /** Time at which reads would fail without renewal; absent without a known expiry. */
  readsFailAtMs: v.exactOptional(wallTimeMs),
});

const daemonSchema = v.strictObject({
  ...fields(text, "id", "apiSocket", "source"),
  ...optionalFields(text, "stateDetail", "version", "mode"),
  pid: v.exactOptional(count),
  state: v.picklist(DAEMON_STATES),
  instances: v.array(mountSchema),
});

/** A provider since the agent started. */
const providerSchema = v.strictObject({
  name: providerName,
  ...fields(count, "requests", "failures"),
  /** Absent until the first request. */
  last: v.exactOptional(
    v.strictObject({ outcome: v.picklist(PROVIDER_OUTCOMES), reason, atMs: wallTimeMs }),
  ),
  lastFailure: v.exactOptional(failure),
});

/** A plugin or credential helper since the agent started. */
const pluginSchema = v.strictObject({
  name: text,
  provider: providerName,
  ...fields(count, "executions", "failures"),
  lastAtMs: wallTimeMs,
  lastResult: v.picklist(EXECUTION_RESULTS),
  ...fields(durationMs, "lastDurationMs", "longestDurationMs"),
  lastFailure: v.exactOptional(v.strictObject({ detail: text, atMs: wallTimeMs })),
});

const criProxySchema = v.strictObject({
  state: v.picklist(CRI_PROXY_STATES),
  /** Why it is not serving. */
  detail: v.exactOptional(text),
  socket: text,
  /** The symlink that clients connect to; absent if they connect to `socket`. */
  link: v.exactOptional(text),
  /** Target of the symlink. */
  linkTarget: v.exactOptional(text),
  /** Time since which no client has been connected; absent while one is. */
  idleSinceMs: v.exactOptional(wallTimeMs),
  /** Images whose pull credential was restored from a previous run of the agent. */
  restoredImages: count,
  ...fields(count, "openConnections", "connections", "refusedConnections"),
  ...fields(count, "bytesToRuntime", "bytesToClients"),
  /** Observed `PullImage` requests, with or without a credential. */
  pulls: count,
  /** Directions of connections that could not be parsed to the end. */
  lostReadings: count,
  /** Skipped messages and skipped credentials in messages. */
  skippedMessages: count,
});

/** Status of the agent, without secrets, as shown by `status` and the status page. */
export const statusSchema = v.strictObject({
  nowMs: wallTimeMs,
  /** Host name of the node, if it has one. */
  hostname: v.exactOptional(text),
  version: text,
  startedAtMs: wallTimeMs,
  configHash: text,
  /** Problems of the configuration that the last reload rejected; the previous one is in effect. */
  refusedConfig: v.exactOptional(v.array(text)),
  /** Absent until the first reconcile has finished. */
  ...optionalFields(wallTimeMs, "firstReconcileAtMs", "lastReconcileAtMs"),
  lastReconcileMs: v.exactOptional(durationMs),
  /** Monotonic time since the last reconcile finished. */
  loopAgeMs: v.exactOptional(durationMs),
  images: v.array(imageSchema),
  daemons: v.array(daemonSchema),
  /** Failures of discovery sources. */
  problems: v.array(v.strictObject(fields(text, "source", "subject", "detail"))),
  /** The providers that are enabled in the configuration; absent if not known. */
  enabledProviders: v.exactOptional(v.array(providerName)),
  /** Every provider of the chain; absent if not recorded. */
  providers: v.exactOptional(v.array(providerSchema)),
  /** Watches of the Kubernetes API that are not up to date; the last known objects are used. */
  staleWatches: v.exactOptional(v.array(v.strictObject({ subject: text, reason, detail: text }))),
  /** Configured interval between two reconciles. */
  checkIntervalMs: v.exactOptional(durationMs),
  /** Every plugin and credential helper that was executed. */
  plugins: v.exactOptional(v.array(pluginSchema)),
  /** Absent if the CRI proxy is not enabled. */
  criProxy: v.exactOptional(criProxySchema),
});

export type AgentStatus = Immutable<v.InferOutput<typeof statusSchema>>;
export type ImageStatus = AgentStatus["images"][number];
export type DaemonStatus = AgentStatus["daemons"][number];
export type InstanceStatus = DaemonStatus["instances"][number];
export type ProviderStatus = NonNullable<AgentStatus["providers"]>[number];
export type PluginStatus = NonNullable<AgentStatus["plugins"]>[number];
export type StaleWatch = NonNullable<AgentStatus["staleWatches"]>[number];
export type CriProxyStatus = NonNullable<AgentStatus["criProxy"]>;
export type FailureStatus = NonNullable<ImageStatus["lastFailure"]>;
