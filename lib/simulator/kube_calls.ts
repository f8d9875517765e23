import { defined } from "../model/mod.ts";
import { KUBE_KINDS, type KubeObjects, type KubeResource } from "./kube_objects.ts";

/** A call with its attributes for authorization. */
export interface KubeCall {
  readonly user: string;
  readonly verb: "get" | "list" | "watch" | "create";
  readonly resource: KubeResource;
  readonly subresource: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly query: URLSearchParams;
}

const PATH = /^\/api\/v1(?:\/namespaces\/([^/]+))?\/([a-z]+)(?:\/([^/]+)(?:\/([a-z]+))?)?$/;

/** Parses a request. Returns undefined for resources that are not simulated. */
export function readCall(method: string, url: URL, user: string): KubeCall | undefined {
  const [, namespace, resource = "", name, subresource = ""] = PATH.exec(url.pathname) ?? [];
  if (!Object.hasOwn(KUBE_KINDS, resource)) return undefined;
  const query = url.searchParams;
  const readVerb = name !== undefined ? "get" : query.get("watch") === "true" ? "watch" : "list";
  return {
    user,
    verb: method === "POST" ? "create" : readVerb,
    resource: resource as KubeResource,
    subresource,
    ...defined({ namespace, name }),
    query,
  };
}

/** Returns a response of kind `Status`, as for every failure. */
export function statusAnswer(
  code: number,
  reason: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return Response.json(statusObject(code, reason, message), { status: code, headers });
}

export function statusObject(code: number, reason: string, message: string) {
  const status = "Failure";
  return { kind: "Status", apiVersion: "v1", metadata: {}, status, message, reason, code };
}

/** Returns the response of a real server to a forbidden call. */
export function forbidden({ user, verb, resource, subresource, namespace, name }: KubeCall) {
  const full = subresource === "" ? resource : `${resource}/${subresource}`;
  const which = name === undefined ? full : `${full} ${JSON.stringify(name)}`;
  const where = namespace === undefined
    ? "at the cluster scope"
    : `in the namespace ${JSON.stringify(namespace)}`;
  const message = `${which} is forbidden: User ${JSON.stringify(user)} cannot ${verb} resource ` +
    `${JSON.stringify(full)} in API group "" ${where}`;
  return statusAnswer(403, "Forbidden", message);
}

export function notFound({ resource, name = "" }: KubeCall): Response {
  return statusAnswer(404, "NotFound", `${resource} ${JSON.stringify(name)} not found`);
}

export const EXPIRED = statusObject(410, "Expired", "too old resource version: 1 (2)");

const MIN_SECONDS = 600;

/** Responds to a TokenRequest with an unsigned token with the usual claims. */
export function answerTokenRequest(
  call: KubeCall,
  objects: KubeObjects,
  body: string,
): Response {
  const { namespace = "", name = "" } = call;
  if (call.resource !== "serviceaccounts" || call.subresource !== "token") return notFound(call);
  const account = objects.get("serviceaccounts", namespace, name);
  if (account === undefined) return notFound(call);
  const { spec, metadata } = JSON.parse(body) as {
    metadata?: { uid?: string };
    spec: {
      audiences: string[];
      expirationSeconds?: number;
      boundObjectRef?: { kind: string; name: string; uid: string };
    };
  };
  const requestedUid = metadata?.uid ?? "";
  if (requestedUid !== "" && requestedUid !== account.metadata.uid) {
    return statusAnswer(
      409,
      "Conflict",
      "the UID in the token request does not match the account's",
    );
  }
  const bound = spec.boundObjectRef;
  const pod = bound && objects.get("pods", namespace, bound.name);
  if (bound && pod === undefined) {
    return statusAnswer(404, "NotFound", `pods ${JSON.stringify(bound.name)} not found`);
  }
  if (bound && pod?.metadata.uid !== bound.uid) {
    return statusAnswer(409, "Conflict", "the UID in the bound object reference does not match");
  }
  const uses = (pod?.["spec"] as { serviceAccountName?: string } | undefined)?.serviceAccountName;
  if (bound && uses !== name) {
    return statusAnswer(400, "BadRequest", "the pod does not use this service account");
  }
  const seconds = Math.max(MIN_SECONDS, spec.expirationSeconds ?? 3_600);
  const expires = Math.floor(Date.now() / 1_000) + seconds;
  const token = [
    { alg: "none" },
    {
      aud: spec.audiences,
      exp: expires,
      sub: `system:serviceaccount:${namespace}:${name}`,
      "kubernetes.io": { namespace, pod: bound, serviceaccount: { name } },
      jti: crypto.randomUUID(),
    },
  ].map((part) =>
    new TextEncoder().encode(JSON.stringify(part)).toBase64({ alphabet: "base64url" })
  );
  const expirationTimestamp = new Date(expires * 1_000).toISOString().replace(".000Z", "Z");
  return Response.json({
    kind: "TokenRequest",
    apiVersion: "authentication.k8s.io/v1",
    spec,
    status: { token: `${token.join(".")}.c2ln`, expirationTimestamp },
  }, { status: 201 });
}
