/** Secrets of the core API, as tests need them. */
export interface SecretSpec {
  readonly namespace?: string;
  readonly name?: string;
  readonly type?: string;
  /** `auths`, or the whole of an older `.dockercfg`. */
  readonly auths?: unknown;
  /** The field's value as it is, instead of `auths`. */
  readonly raw?: string;
}

/** A Secret as an API server answers it. */
export function secretObject(
  { namespace = "default", name = "pull", type, auths = {}, raw }: SecretSpec,
): Record<string, unknown> {
  const isOld = type === "kubernetes.io/dockercfg";
  const text = JSON.stringify(isOld ? auths : { auths });
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { namespace, name, resourceVersion: "1" },
    type: type ?? "kubernetes.io/dockerconfigjson",
    data: { [isOld ? ".dockercfg" : ".dockerconfigjson"]: raw ?? encode(text) },
  };
}

export function encode(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}
