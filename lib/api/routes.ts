import {
  AgentError,
  type CallOptions,
  type Credential,
  credentialFromPair,
  credentialSecret,
  credentialUsername,
  parseDurationMs,
  parseImageReference,
  repositoryReference,
  Secret,
} from "../model/mod.ts";
import type { ApiAgent, ApiCredential, ApiLifetime, ApiPut, ApiTarget } from "./port.ts";
import type { AnswerBody, ANSWERS, RequestBody, REQUESTS } from "./schemas.ts";

/** One question that can be put to the agent. */
export interface Route<Body = unknown> {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: `/v1/${string}`;
  readonly summary: string;
  /** Undefined: it takes no body. */
  readonly body?: keyof typeof REQUESTS;
  readonly answer: keyof typeof ANSWERS;
  answerTo(agent: ApiAgent, body: Body, options: CallOptions): unknown;
}

/** A registry stands for its images: providers are asked for one. */
const ANY_REPOSITORY = "library/any";

function route<Name extends keyof typeof REQUESTS>(
  given: Omit<Route<RequestBody<Name>>, "body"> & { readonly body: Name },
): Route<never> {
  return given;
}

function asking(given: Omit<Route<undefined>, "body">): Route<never> {
  return given;
}

const getCredential = route({
  method: "POST",
  path: "/v1/credentials/get",
  summary: "The credential for an image: the one that its mounts use, else the chain's.",
  body: "get",
  answer: "credential",
  async answerTo(agent, { labels, ...body }, options) {
    const { image } = targetOf(body);
    const question = { image, labels, ...lifeOf(body) };
    const { found, why } = await agent.credential(question, options);
    if (found !== undefined) return credentialBody(image.text, found);
    throw new ApiError(404, "no-credential", `no credential for ${image.text}`, why);
  },
});

const listPuts = asking({
  method: "GET",
  path: "/v1/credentials",
  summary: "What was put into the agent, without secrets.",
  answer: "puts",
  answerTo: (agent) => ({ credentials: agent.puts().map(putBody) }),
});

const putCredential = route({
  method: "PUT",
  path: "/v1/credentials",
  summary: "Put a credential, or pull labels, for an image or a registry. It goes before what " +
    "every other provider has, and to the image's mounts, until it ends or is forgotten.",
  body: "put",
  answer: "put",
  answerTo(agent, { credential, labels, ...body }) {
    const given = credential === undefined ? labels ?? {} : credentialOf(credential);
    return putBody(agent.put(targetOf(body), given, lifeOf(body)));
  },
});

const forgetPut = route({
  method: "DELETE",
  path: "/v1/credentials",
  summary: "Forget what was put. Mounts keep what they hold until another source has something.",
  body: "forget",
  answer: "forgotten",
  answerTo: (agent, body) => ({ forgotten: agent.forget(targetOf(body)) }),
});

const reportRefused = route({
  method: "POST",
  path: "/v1/refused",
  summary: "Say that a registry refused the credential with this fingerprint: if it is still " +
    "the current one, its source is asked for a newer one, past caches.",
  body: "refused",
  answer: "refused",
  async answerTo(agent, { fingerprint, ...body }, options) {
    return { outcome: await agent.refused(targetOf(body), fingerprint, options) };
  },
});

const explainImage = route({
  method: "POST",
  path: "/v1/explain",
  summary: "What every provider answers for an image, and why.",
  body: "explain",
  answer: "free",
  answerTo(agent, { ref, labels, ...lifetime }, options) {
    const image = parseImageReference(ref);
    return agent.explain({ image, labels, ...lifeOf(lifetime) }, options);
  },
});

const writeStatus = asking({
  method: "GET",
  path: "/v1/status",
  summary: "How the node stands; the same as of the server for metrics.",
  answer: "free",
  answerTo: (agent) => agent.status(),
});

const reconcileNow = asking({
  method: "POST",
  path: "/v1/reconcile",
  summary: "Look at the node now, instead of at the next check.",
  answer: "reconcile",
  answerTo(agent) {
    agent.reconcile();
    return { accepted: true };
  },
});

const renewImages = route({
  method: "POST",
  path: "/v1/renew",
  summary: "Ask the sources of one image or of all, past caches and backoffs.",
  body: "renew",
  answer: "renewed",
  async answerTo(agent, { ref }, options) {
    const only = ref === undefined ? undefined : parseImageReference(ref);
    return { images: await agent.renew(only, options) };
  },
});

const writeLogLevel = asking({
  method: "GET",
  path: "/v1/log-level",
  summary: "From which level on lines are written.",
  answer: "logLevel",
  answerTo: (agent) => ({ level: agent.logLevel() }),
});

const setLogLevel = route({
  method: "PUT",
  path: "/v1/log-level",
  summary: "Write lines from another level on, until the next reload or restart.",
  body: "logLevel",
  answer: "logLevel",
  answerTo(agent, { level }) {
    agent.setLogLevel(level);
    return { level: agent.logLevel() };
  },
});

/** Every route of the local API; its OpenAPI document says the same. */
export const ROUTES: readonly Route<never>[] = [
  getCredential,
  listPuts,
  putCredential,
  forgetPut,
  reportRefused,
  explainImage,
  writeStatus,
  reconcileNow,
  renewImages,
  writeLogLevel,
  setLogLevel,
];

/** A refusal that the caller is told: its message never holds a secret. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: 400 | 404 | 409 | 411 | 413 | 415 | 503;
  readonly code: string;
  readonly details: readonly string[];

  constructor(
    status: ApiError["status"],
    code: string,
    message: string,
    details: readonly string[] = [],
  ) {
    super(message);
    this.details = details;
    this.status = status;
    this.code = code;
  }
}

function targetOf(body: {
  readonly ref?: string | undefined;
  readonly registry?: string | undefined;
}): ApiTarget {
  const { ref, registry = "" } = body;
  if (ref !== undefined) return { kind: "image", image: parseImageReference(ref) };
  try {
    const image = repositoryReference(registry, ANY_REPOSITORY);
    return { kind: "registry", registry: image.registry, image };
  } catch {
    throw new AgentError("usage", "read registry: it is not of the form host or host:port");
  }
}

function lifeOf({ validFor, validUntil }: {
  readonly validFor?: string | undefined;
  readonly validUntil?: string | undefined;
}): ApiLifetime {
  return {
    ...(validFor !== undefined && { validForMs: parseDurationMs(validFor) }),
    ...(validUntil !== undefined && { validUntilMs: Date.parse(validUntil) }),
  };
}

function credentialOf(given: NonNullable<RequestBody<"put">["credential"]>): Credential {
  switch (given.form) {
    case "basic": {
      const credential = credentialFromPair(given.username, given.password);
      if (credential !== undefined) return credential;
      throw new AgentError("usage", "read credential: it has no password");
    }
    case "registry-token":
      return { kind: "registry-token", token: new Secret(given.token) };
    case "identity-token": {
      const { username, token } = given;
      return { kind: "identity-token", username, token: new Secret(token) };
    }
  }
}

function credentialBody(image: string, found: ApiCredential): AnswerBody<"credential"> {
  const { provider, credential, origin, fingerprint, expired } = found;
  const { refreshAtMs, expiresAtMs } = found;
  const secret = credentialSecret(credential).reveal();
  const username = credentialUsername(credential);
  return {
    image,
    provider,
    credential: credential.kind === "basic"
      ? { form: "basic", username, password: secret }
      : credential.kind === "registry-token"
      ? { form: "registry-token", token: secret }
      : { form: "identity-token", username, token: secret },
    origin,
    fingerprint,
    fetchedAt: iso(found.fetchedAtMs),
    ...(refreshAtMs !== undefined && { refreshAt: iso(refreshAtMs) }),
    ...(expiresAtMs !== undefined && { expiresAt: iso(expiresAtMs) }),
    expired,
  };
}

function putBody({ putAtMs, validUntilMs, ...rest }: ApiPut): AnswerBody<"put"> {
  return {
    ...rest,
    putAt: iso(putAtMs),
    ...(validUntilMs !== undefined && { validUntil: iso(validUntilMs) }),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
