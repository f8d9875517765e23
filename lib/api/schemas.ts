import * as v from "valibot";

/** Longer than any reference that the grammar allows. */
const MAX_REF = 4_096;
const MAX_SECRET = 48 * 1_024;
const MAX_LABELS = 64;

const ref = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(MAX_REF),
  v.description("An image reference, as a person writes it: `alpine` is docker.io/library/alpine."),
);
const registry = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(255),
  v.description("A registry, `host` or `host:port`: stands for every image in it."),
);
const secretText = v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_SECRET));
const time = v.pipe(v.string(), v.isoTimestamp(), v.description("A time, RFC 3339."));
const fingerprint = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{1,64}$/),
  v.description("A short name of the credential, which says nothing of it; for this process only."),
);
const duration = v.pipe(
  v.string(),
  v.maxLength(64),
  v.description("A duration, such as `90m` or `12h`."),
);
const labels = v.pipe(
  v.record(v.pipe(v.string(), v.maxLength(1_024)), v.pipe(v.string(), v.maxLength(MAX_SECRET))),
  v.check((all) => Object.keys(all).length <= MAX_LABELS, `at most ${MAX_LABELS} labels`),
  v.description("Labels of a snapshot, of which the two of the pull count."),
);

/** Every way in which a credential is written. */
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

/** Bodies of requests. */
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
  v.description("labels, cri, docker, kubelet or kubesecret; adopted: what a mount held before."),
);
const put = v.strictObject({
  ref: v.optional(ref),
  registry: v.optional(registry),
  form: v.string(),
  username: v.optional(v.string()),
  putAt: time,
  validUntil: v.optional(time),
});

/** Bodies of answers. */
export const ANSWERS = {
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
  }),
  puts: v.strictObject({ credentials: v.array(put) }),
  put,
  forgotten: v.strictObject({ forgotten: v.boolean() }),
  refused: v.strictObject({ outcome: v.picklist(["queried", "resting", "not-current"]) }),
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
  /** What the command line prints as JSON: its parts are described there. */
  free: v.looseObject({}),
  error: v.strictObject({
    error: v.strictObject({
      code: v.string(),
      message: v.string(),
      details: v.optional(v.array(v.string())),
    }),
  }),
} as const;

/** Everything that a request may hold. */
export type RequestBody<Name extends keyof typeof REQUESTS> = v.InferOutput<
  (typeof REQUESTS)[Name]
>;
/** Everything that an answer holds. */
export type AnswerBody<Name extends keyof typeof ANSWERS> = v.InferOutput<(typeof ANSWERS)[Name]>;
