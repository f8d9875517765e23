import type * as v from "valibot";
import {
  AgentError,
  type CallOptions,
  type Credential,
  credentialFromPair,
  defined,
  type ImageReference,
  type Immutable,
  parseDurationMs,
  parseImageReference,
  repositoryReference,
  revealCredential,
  Secret,
} from "../model/mod.ts";
import type { LogLevel } from "../observability/mod.ts";
import type {
  foundSchema,
  putSchema,
  renewedSchema,
  RequestBody,
  REQUESTS,
  RESPONSES,
} from "./schemas.ts";

/** The target of a request: one image, or every image of a registry. */
export type ApiTarget =
  | { readonly kind: "image"; readonly image: ImageReference }
  | { readonly kind: "registry"; readonly registry: string; readonly image: ImageReference };

/** A credential for a client. */
export type ApiCredential =
  & Omit<Immutable<v.InferOutput<typeof foundSchema>>, "image" | "credential">
  & { readonly credential: Credential };
export type ApiPut = Immutable<v.InferOutput<typeof putSchema>>;
export type ApiRenewed = Immutable<v.InferOutput<typeof renewedSchema>>;

/** The lifetime of a credential, required or known: a duration or an end, or neither. */
export interface ApiLifetime {
  readonly validForMs?: number;
  /** Wall time. */
  readonly validUntilMs?: number;
}

/** A lookup of the credential of an image. */
export interface ApiLookup extends ApiLifetime {
  readonly image: ImageReference;
  readonly labels: Readonly<Record<string, string>>;
}

/** The operations of the running agent that the local API exposes. */
export interface ApiAgent {
  /** `found` is undefined if no provider has a credential; `why` has the reason of each. */
  credential(
    lookup: ApiLookup,
    options: CallOptions,
  ): Promise<{ readonly found?: ApiCredential; readonly why: readonly string[] }>;
  /** @throws {AgentError} `usage` if the configuration does not allow pushed credentials. */
  put(
    target: ApiTarget,
    given: {
      readonly credential?: Credential;
      readonly labels?: Readonly<Record<string, string>>;
    },
    lifetime: ApiLifetime,
  ): ApiPut;
  puts(): readonly ApiPut[];
  /** Returns false if there was no pushed credential. */
  forget(target: ApiTarget): boolean;
  refused(
    target: ApiTarget,
    fingerprint: string,
    options: CallOptions,
  ): Promise<"requested" | "backing-off" | "not-current">;
  /** Returns the result of every provider for an image, as in `explain --output json`. */
  explain(lookup: ApiLookup, options: CallOptions): Promise<object>;
  /** Returns the output of `status --output json`. */
  status(): object;
  reconcile(): void;
  /** Renews one image, or every mounted image. */
  renew(only: ImageReference | undefined, options: CallOptions): Promise<readonly ApiRenewed[]>;
  logLevel(): LogLevel;
  setLogLevel(level: LogLevel): void;
}

/** Options of the local API. */
export interface ApiOptions {
  readonly agent: ApiAgent;
  readonly version: string;
}

/** A route of the local API. */
export interface Route<Body = unknown> {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: `/v1/${string}`;
  readonly summary: string;
  /** Schema of the request body; undefined without one. */
  readonly body?: keyof typeof REQUESTS;
  /** Schema of the response body. */
  readonly response: keyof typeof RESPONSES;
  /** Returns the response; times are wall times in ms (`putAtMs`). */
  handle(agent: ApiAgent, body: Body, options: CallOptions): unknown;
}

/** Providers look up images, so a registry is represented by one of its images. */
const ANY_REPOSITORY = "library/any";

function route<Name extends keyof typeof REQUESTS>(
  given: Route<RequestBody<Name>> & { readonly body?: Name },
): Route<never> {
  return given;
}

/** All routes of the local API. */
export const ROUTES: readonly Route<never>[] = [
  route({
    method: "POST",
    path: "/v1/credentials/get",
    summary:
      "Returns the credential for an image: the one of its mounts, or one from the providers.",
    body: "get",
    response: "credential",
    async handle(agent, { labels, ...body }, options) {
      const { image } = targetOf(body);
      const lookup = { image, labels, ...lifetimeOf(body) };
      const { found, why } = await agent.credential(lookup, options);
      if (found !== undefined) {
        return { image: image.text, ...found, credential: revealCredential(found.credential) };
      }
      throw new ApiError(404, "no-credential", `no credential for ${image.text}`, why);
    },
  }),
  route({
    method: "GET",
    path: "/v1/credentials",
    summary: "Lists the pushed credentials, without secrets.",
    response: "puts",
    handle: (agent) => ({ credentials: agent.puts() }),
  }),
  route({
    method: "PUT",
    path: "/v1/credentials",
    summary:
      "Pushes a credential, or pull labels, for an image or a registry. It has priority over " +
      "all other providers and is delivered to the image's mounts, until it expires or is deleted.",
    body: "put",
    response: "put",
    handle(agent, { credential, labels, ...body }) {
      const given = defined({ credential: credential && credentialOf(credential), labels });
      return agent.put(targetOf(body), given, lifetimeOf(body));
    },
  }),
  route({
    method: "DELETE",
    path: "/v1/credentials",
    summary: "Deletes a pushed credential. Mounts keep it until another provider has a credential.",
    body: "forget",
    response: "forgotten",
    handle: (agent, body) => ({ forgotten: agent.forget(targetOf(body)) }),
  }),
  route({
    method: "POST",
    path: "/v1/refused",
    summary:
      "Reports that a registry refused the credential with this fingerprint. If it is still " +
      "the current one, a new one is requested from its provider, bypassing caches.",
    body: "refused",
    response: "refused",
    async handle(agent, { fingerprint, ...body }, options) {
      return { outcome: await agent.refused(targetOf(body), fingerprint, options) };
    },
  }),
  route({
    method: "POST",
    path: "/v1/explain",
    summary: "Explains the result of every provider for an image.",
    body: "explain",
    response: "object",
    handle(agent, { ref, labels, ...lifetime }, options) {
      const image = parseImageReference(ref);
      return agent.explain({ image, labels, ...lifetimeOf(lifetime) }, options);
    },
  }),
  route({
    method: "GET",
    path: "/v1/status",
    summary: "Returns the status of the agent, as the status server and the CLI do.",
    response: "status",
    handle: (agent) => agent.status(),
  }),
  route({
    method: "POST",
    path: "/v1/reconcile",
    summary: "Starts a reconciliation immediately.",
    response: "reconcile",
    handle(agent) {
      agent.reconcile();
      return { accepted: true };
    },
  }),
  route({
    method: "POST",
    path: "/v1/renew",
    summary: "Renews the credentials of one or all images, bypassing caches and backoffs.",
    body: "renew",
    response: "renewed",
    async handle(agent, { ref }, options) {
      const only = ref === undefined ? undefined : parseImageReference(ref);
      return { images: await agent.renew(only, options) };
    },
  }),
  route({
    method: "GET",
    path: "/v1/log-level",
    summary: "Returns the log level.",
    response: "logLevel",
    handle: (agent) => ({ level: agent.logLevel() }),
  }),
  route({
    method: "PUT",
    path: "/v1/log-level",
    summary: "Sets the log level until the next reload or restart.",
    body: "logLevel",
    response: "logLevel",
    handle(agent, { level }) {
      agent.setLogLevel(level);
      return { level: agent.logLevel() };
    },
  }),
];

/** An error for the client. Its message never contains a secret. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: 400 | 404 | 405 | 415 | 500 | 504;
  readonly code: string;
  readonly details: readonly string[] | undefined;

  constructor(
    status: ApiError["status"],
    code: string,
    message: string,
    details?: readonly string[],
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
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
    throw new AgentError("usage", "invalid registry: expected host or host:port");
  }
}

function lifetimeOf({ validFor, validUntil }: {
  readonly validFor?: string | undefined;
  readonly validUntil?: string | undefined;
}): ApiLifetime {
  return defined({
    validForMs: validFor === undefined ? undefined : parseDurationMs(validFor),
    validUntilMs: validUntil === undefined ? undefined : Date.parse(validUntil),
  });
}

function credentialOf(given: NonNullable<RequestBody<"put">["credential"]>): Credential {
  switch (given.form) {
    case "basic": {
      const credential = credentialFromPair(given.username, given.password);
      if (credential !== undefined) return credential;
      throw new AgentError("usage", "invalid credential: it has no password");
    }
    case "registry-token":
      return { kind: "registry-token", token: new Secret(given.token) };
    case "identity-token": {
      const { username, token } = given;
      return { kind: "identity-token", username, token: new Secret(token) };
    }
  }
}
