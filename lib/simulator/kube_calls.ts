import { KUBE_KINDS, type KubeResource } from "./kube_objects.ts";

/** One call, in the words of Kubernetes' authorization. */
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

/** A request as a call; undefined for what the stand-in does not serve. */
export function readCall(method: string, url: URL, user: string): KubeCall | undefined {
  const [, namespace, resource = "", name, subresource = ""] = PATH.exec(url.pathname) ?? [];
  if (!Object.hasOwn(KUBE_KINDS, resource)) return undefined;
  const query = url.searchParams;
  const reading = name !== undefined ? "get" : query.get("watch") === "true" ? "watch" : "list";
  return {
    user,
    verb: method === "POST" ? "create" : reading,
    resource: resource as KubeResource,
    subresource,
    ...(namespace !== undefined && { namespace }),
    ...(name !== undefined && { name }),
    query,
  };
}

/** An answer of kind `Status`, as every failure is one. */
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

/** In the words of a real server. */
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
