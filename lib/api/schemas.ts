import * as v from "valibot";
import { optionalFields, statusSchema, wallTimeMs } from "../model/mod.ts";
import { documentSchema, healthSchema } from "../observability/mod.ts";

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

/** Lists the fields of a request body, or of the credential in one. */
export function requestFields(name: keyof typeof REQUESTS, [parent]: readonly string[]): string {
  const fields = parent === "credential"
    ? credential.options.flatMap(({ entries }) => Object.keys(entries))
    : Object.keys(REQUESTS[name].entries);
  return [...new Set(fields)].join(", ");
}

const providerName = v.pipe(
  v.string(),
  v.description("labels, cri, docker, kubelet or kubesecret; adopted: found in nydusd."),
);
/** A credential that a client pushed to the agent, without its secret. */
export const putSchema = v.strictObject({
  ref: v.exactOptional(ref),
  registry: v.exactOptional(registry),
  form: v.string(),
  username: v.exactOptional(v.string()),
  putAtMs: wallTimeMs,
  validUntilMs: v.exactOptional(wallTimeMs),
});
/** The credential of an image. */
export const foundSchema = v.strictObject({
  image: v.string(),
  provider: providerName,
  credential,
  origin: v.string(),
  fingerprint,
  fetchedAtMs: wallTimeMs,
  ...optionalFields(wallTimeMs, "refreshAtMs", "expiresAtMs"),
  expired: v.boolean(),
  account: v.exactOptional(v.pipe(
    v.string(),
    v.description("The service account that a plugin issued it for."),
  )),
});
/** The result of renewing the credential of an image on user request. */
export const renewedSchema = v.strictObject({
  image: v.string(),
  endpoint: v.exactOptional(v.string()),
  result: v.picklist(["changed", "same", "none", "failed"]),
  provider: v.exactOptional(providerName),
  detail: v.exactOptional(v.string()),
});

/** Schemas of response bodies. */
export const RESPONSES = {
  credential: documentSchema(foundSchema),
  puts: documentSchema(v.strictObject({ credentials: v.array(putSchema) })),
  put: documentSchema(putSchema),
  forgotten: v.strictObject({ forgotten: v.boolean() }),
  refused: v.strictObject({ outcome: v.picklist(["requested", "backing-off", "not-current"]) }),
  renewed: v.strictObject({ images: v.array(renewedSchema) }),
  reconcile: v.strictObject({ accepted: v.literal(true) }),
  logLevel: v.strictObject({ level: v.string() }),
  status: documentSchema(v.strictObject({ ...statusSchema.entries, health: healthSchema })),
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
