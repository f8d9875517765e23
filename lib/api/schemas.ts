import * as v from "valibot";
import {
  CRI_PROXY_STATES,
  DAEMON_STATES,
  DELIVERY_STATES,
  PROVIDER_NAMES,
  REASON_CODES,
  type ReasonCode,
  RENEWAL_WINDOWS,
} from "../model/mod.ts";
import { FINDING_AREAS, FINDING_CODES } from "../observability/mod.ts";

/** Limits in characters. */
const MAX_REF = 4_096;
const MAX_SECRET = 48 * 1_024;
const MAX_LABELS = 64;

const ref = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(MAX_REF),
  v.description("An image reference; short names such as `alpine` are normalized."),
);
const registry = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(255),
  v.description("A registry, `host` or `host:port`, for every image in it."),
);
const secretText = v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_SECRET));
const time = v.pipe(v.string(), v.isoTimestamp(), v.description("A time, RFC 3339."));
const fingerprint = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{1,64}$/),
  v.description("Identifies the credential; valid until the agent is restarted."),
);
const duration = v.pipe(
  v.string(),
  v.maxLength(64),
  v.description("A duration, such as `90m` or `12h`."),
);
const labels = v.pipe(
  v.record(v.pipe(v.string(), v.maxLength(1_024)), v.pipe(v.string(), v.maxLength(MAX_SECRET))),
  v.check((all) => Object.keys(all).length <= MAX_LABELS, `at most ${MAX_LABELS} labels`),
  v.description("Labels of a snapshot; the two labels with the pull credential are used."),
);

/** A credential in any of its forms. */
const credential = v.variant("form", [
  v.strictObject({ form: v.literal("basic"), username: secretText, password: secretText }),
  v.strictObject({ form: v.literal("registry-token"), token: secretText }),
  v.strictObject({
    form: v.literal("identity-token"),
    username: v.optional(v.string(), ""),
    token: secretText,
  }),
]);

const target = {
  ref: v.optional(ref),
  registry: v.optional(registry),
};
const lifetime = { validFor: v.optional(duration), validUntil: v.optional(time) };

/** Requires one of two fields, or with `atMost` also accepts none. */
const oneOf = <T extends object>(a: keyof T & string, b: keyof T & string, atMost = false) =>
  v.check<T, string>(
    (body) => (body[a] === undefined) !== (body[b] === undefined) || (atMost && !(a in body)),
    `give either ${a} or ${b}`,
  );

/** Schemas of request bodies. */
export const REQUESTS = {
  get: v.pipe(
    v.strictObject({
      ...target,
      labels: v.optional(labels, {}),
      ...lifetime,
    }),
    oneOf("ref", "registry"),
    oneOf("validFor", "validUntil", true),
  ),
  put: v.pipe(
    v.strictObject({
      ...target,
      credential: v.optional(credential),
      labels: v.optional(labels),
      ...lifetime,
    }),
    oneOf("ref", "registry"),
    oneOf("credential", "labels"),
    oneOf("validFor", "validUntil", true),
  ),
  forget: v.pipe(v.strictObject(target), oneOf("ref", "registry")),
  refused: v.pipe(v.strictObject({ ...target, fingerprint }), oneOf("ref", "registry")),
  explain: v.pipe(
    v.strictObject({ ref, labels: v.optional(labels, {}), ...lifetime }),
    oneOf("validFor", "validUntil", true),
  ),
  renew: v.pipe(
    v.strictObject({ ref: v.optional(ref), all: v.optional(v.literal(true)) }),
    oneOf("ref", "all"),
  ),
  logLevel: v.strictObject({ level: v.picklist(["debug", "info", "warning", "error"]) }),
} as const;

/** Returns the names of the fields of a request body, or of the credential in one. */
export function fieldsOf(name: keyof typeof REQUESTS, [parent]: readonly string[]): string[] {
  return parent === "credential"
    ? [...new Set(credential.options.flatMap(({ entries }) => Object.keys(entries)))]
    : Object.keys(REQUESTS[name].entries);
}

const providerName = v.pipe(
  v.string(),
  v.description("labels, cri, docker, kubelet or kubesecret; adopted: found in nydusd."),
);
const put = v.strictObject({
  ref: v.optional(ref),
  registry: v.optional(registry),
  form: v.string(),
  username: v.optional(v.string()),
  putAt: time,
  validUntil: v.optional(time),
});

const count = v.pipe(v.number(), v.minValue(0));
const durationMs = v.pipe(v.number(), v.description("A duration in milliseconds."));
const text = v.string();
const reason = v.picklist(Object.keys(REASON_CODES) as ReasonCode[]);
const outcome = v.picklist(["found", "none", "failed"]);
const failure = v.strictObject({ reason, detail: text, at: time });

const finding = v.strictObject({
  code: v.pipe(
    v.picklist(FINDING_CODES),
    v.description("Stable; the title and the text are not."),
  ),
  area: v.picklist(FINDING_AREAS),
  title: text,
  severity: v.picklist(["warning", "critical"]),
  key: v.pipe(text, v.description("Identifies the finding as long as it lasts.")),
  count: v.pipe(count, v.description("Affected images, mounts or daemons.")),
  images: v.pipe(v.array(text), v.description("Some of the affected images.")),
  text,
  remedy: text,
  since: v.optional(time),
  dependsOn: v.optional(
    v.pipe(
      v.array(v.picklist(FINDING_CODES)),
      v.description("Codes of the findings that cause this one."),
    ),
  ),
});

const health = v.strictObject({
  live: v.boolean(),
  ready: v.boolean(),
  level: v.picklist(["ok", "warning", "critical"]),
  about: v.picklist(["healthy", "starting", ...FINDING_AREAS]),
  summary: text,
  remedy: v.optional(text),
  checks: v.array(
    v.strictObject({ name: text, ok: v.boolean(), text, required: v.boolean() }),
  ),
  findings: v.pipe(v.array(finding), v.description("The first one determines the summary.")),
});

type AnySchema = v.BaseSchema<unknown, unknown, v.BaseIssue<unknown>>;

/** Returns fields with one schema. */
function fields(schema: AnySchema, ...names: string[]): Record<string, AnySchema> {
  return Object.fromEntries(names.map((name) => [name, schema]));
}

/** Returns fields with one schema, which may be absent. */
function optional(schema: AnySchema, ...names: string[]): Record<string, AnySchema> {
  return fields(v.optional(schema), ...names);
}

const imageStatus = v.strictObject({
  image: text,
  ...optional(text, "endpoint", "origin", "pattern", "plugin", "fingerprint", "selectionReason"),
  ...optional(time, "renewedAt", "refreshAt", "expiresAt", "nextAttemptAt"),
  foundFor: v.optional(v.picklist(["endpoint", "registry"])),
  provider: v.optional(v.picklist([...PROVIDER_NAMES, "adopted"])),
  window: v.optional(v.picklist(RENEWAL_WINDOWS)),
  failures: count,
  lastFailure: v.optional(failure),
  renewals: v.strictObject({ success: count, failure: count }),
});

const mountStatus = v.strictObject({
  snapshotId: text,
  delivery: v.picklist(DELIVERY_STATES),
  ...optional(text, "image", "imageProblem", "mountId", "endpoint", "host", "hostApprovedBy"),
  ...optional(text, "deliveryDetail", "file"),
  ...optional(time, "readsFailingSince", "deliveredAt", "behindSince", "readsFailAt"),
  unapprovedHosts: v.optional(v.array(text)),
  provenReads: v.optional(count),
});

const daemonStatus = v.strictObject({
  ...fields(text, "id", "apiSocket", "source"),
  ...optional(text, "stateDetail", "version", "mode"),
  pid: v.optional(count),
  state: v.picklist(DAEMON_STATES),
  instances: v.array(mountStatus),
});

const providerStatus = v.strictObject({
  name: v.picklist(PROVIDER_NAMES),
  ...fields(count, "requests", "failures"),
  last: v.optional(v.strictObject({ outcome, reason, at: time })),
  lastFailure: v.optional(failure),
});

const pluginStatus = v.strictObject({
  name: text,
  provider: v.picklist(PROVIDER_NAMES),
  ...fields(count, "executions", "failures"),
  lastAt: time,
  lastResult: v.picklist(["success", "none", "failure", "timeout"]),
  ...fields(durationMs, "lastDurationMs", "longestDurationMs"),
  lastFailure: v.optional(v.strictObject({ detail: text, at: time })),
});

const criProxyStatus = v.strictObject({
  state: v.picklist(CRI_PROXY_STATES),
  socket: text,
  ...optional(text, "detail", "link", "linkTarget"),
  idleSince: v.optional(time),
  ...fields(count, "restoredImages", "openConnections", "connections", "refusedConnections"),
  ...fields(count, "bytesToRuntime", "bytesToClients", "pulls", "lostReadings", "skippedMessages"),
});

const status = v.strictObject({
  ...fields(time, "now", "startedAt"),
  ...fields(text, "version", "configHash"),
  hostname: v.optional(text),
  ...optional(time, "firstReconcileAt", "lastReconcileAt"),
  ...optional(durationMs, "lastReconcileMs", "loopAgeMs", "checkIntervalMs"),
  refusedConfig: v.optional(v.array(text)),
  images: v.array(imageStatus),
  daemons: v.array(daemonStatus),
  problems: v.array(v.strictObject(fields(text, "source", "subject", "detail"))),
  enabledProviders: v.optional(v.array(v.picklist(PROVIDER_NAMES))),
  providers: v.optional(v.array(providerStatus)),
  staleWatches: v.optional(v.array(v.strictObject({ subject: text, reason, detail: text }))),
  plugins: v.optional(v.array(pluginStatus)),
  criProxy: v.optional(criProxyStatus),
  health,
});

/** Schemas of response bodies. */
export const RESPONSES = {
  credential: v.strictObject({
    image: v.string(),
    provider: providerName,
    credential,
    origin: v.string(),
    fingerprint,
    fetchedAt: time,
    refreshAt: v.optional(time),
    expiresAt: v.optional(time),
    expired: v.boolean(),
    account: v.optional(v.pipe(
      v.string(),
      v.description("The service account that a plugin issued it for."),
    )),
  }),
  puts: v.strictObject({ credentials: v.array(put) }),
  put,
  forgotten: v.strictObject({ forgotten: v.boolean() }),
  refused: v.strictObject({ outcome: v.picklist(["requested", "backing-off", "not-current"]) }),
  renewed: v.strictObject({
    images: v.array(v.strictObject({
      image: v.string(),
      endpoint: v.optional(v.string()),
      result: v.picklist(["changed", "same", "none", "failed"]),
      provider: v.optional(providerName),
      detail: v.optional(v.string()),
    })),
  }),
  reconcile: v.strictObject({ accepted: v.literal(true) }),
  logLevel: v.strictObject({ level: v.string() }),
  status,
  /** The JSON output of a command, which is not described here. */
  object: v.looseObject({}),
  error: v.strictObject({
    error: v.strictObject({
      code: v.string(),
      message: v.string(),
      details: v.optional(v.array(v.string())),
    }),
  }),
} as const;

/** A parsed request body. */
export type RequestBody<Name extends keyof typeof REQUESTS> = v.InferOutput<
  (typeof REQUESTS)[Name]
>;
