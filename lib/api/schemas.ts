import * as v from "valibot";

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
const oneTarget = <T extends { ref?: string | undefined; registry?: string | undefined }>() =>
  v.check<T, string>(
    (body) => (body.ref === undefined) !== (body.registry === undefined),
    "give either ref or registry",
  );

const lifetime = { validFor: v.optional(duration), validUntil: v.optional(time) };
const oneLifetime = <
  T extends { validFor?: string | undefined; validUntil?: string | undefined },
>() =>
  v.check<T, string>(
    (body) => body.validFor === undefined || body.validUntil === undefined,
    "give either validFor or validUntil",
  );

/** Schemas of request bodies. */
export const REQUESTS = {
  get: v.pipe(
    v.strictObject({
      ...target,
      labels: v.optional(labels, {}),
      ...lifetime,
    }),
    oneTarget(),
    oneLifetime(),
  ),
  put: v.pipe(
    v.strictObject({
      ...target,
      credential: v.optional(credential),
      labels: v.optional(labels),
      ...lifetime,
    }),
    oneTarget(),
    v.check(
      (body) => (body.credential === undefined) !== (body.labels === undefined),
      "give either credential or labels",
    ),
    oneLifetime(),
  ),
  forget: v.pipe(v.strictObject(target), oneTarget()),
  refused: v.pipe(v.strictObject({ ...target, fingerprint }), oneTarget()),
  explain: v.pipe(
    v.strictObject({ ref, labels: v.optional(labels, {}), ...lifetime }),
    oneLifetime(),
  ),
  renew: v.pipe(
    v.strictObject({ ref: v.optional(ref), all: v.optional(v.literal(true)) }),
    v.check((body) => (body.ref === undefined) !== (body.all === undefined), "give ref or all"),
  ),
  logLevel: v.strictObject({ level: v.picklist(["debug", "info", "warning", "error"]) }),
} as const;

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
/** A response body. */
export type ResponseBody<Name extends keyof typeof RESPONSES> = v.InferOutput<
  (typeof RESPONSES)[Name]
>;
