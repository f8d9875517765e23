/** Content of a secret for tests. */
export interface SecretSpec {
  readonly namespace?: string;
  readonly name?: string;
  readonly type?: string;
  /** `auths`, or the content of a `.dockercfg`. */
  readonly auths?: unknown;
  /** The encoded value of the field, instead of `auths`. */
  readonly raw?: string;
}

/** Returns a Secret of the core API. */
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
