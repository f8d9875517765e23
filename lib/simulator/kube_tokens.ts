import { type KubeCall, notFound, statusAnswer } from "./kube_calls.ts";
import type { KubeObjects } from "./kube_objects.ts";

const MIN_SECONDS = 600;

/** Answers a TokenRequest: a token that is unsigned, and says for whom, for what and until when. */
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
  const asked = metadata?.uid ?? "";
  if (asked !== "" && asked !== account.metadata.uid) {
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
