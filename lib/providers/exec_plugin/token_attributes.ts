import { type Fields, goField, goString, isFields, unknownFields } from "../../formats/mod.ts";

/** The service account data that a plugin requires for its requests (KEP-4412). */
export interface TokenAttributes {
  /** Audience of the token. */
  readonly audience: string;
  /** If false, the plugin is also executed without a token when no account is known. */
  readonly requireServiceAccount: boolean;
  /** Accounts without one of these are skipped. */
  readonly requiredAnnotations: readonly string[];
  readonly optionalAnnotations: readonly string[];
  /** Whether a response is cached per account, or per token and thus per pod. */
  readonly cacheType: "ServiceAccount" | "Token";
}

/** Reports a problem. */
type Report = (place: string, problem: string, remedy: string) => void;

const FIELDS = [
  "serviceAccountTokenAudience",
  "requireServiceAccount",
  "requiredServiceAccountAnnotationKeys",
  "optionalServiceAccountAnnotationKeys",
  "cacheType",
];
const CACHE_TYPES = ["ServiceAccount", "Token"] as const;

/**
 * Reads `tokenAttributes` of a provider configuration and checks them as the kubelet does
 * (Kubernetes `pkg/credentialprovider/plugin/config.go`, `validateCredentialProviderConfig`).
 * Returns undefined if a problem was reported.
 */
export function readTokenAttributes(
  value: unknown,
  place: string,
  { problem, warn }: { readonly problem: Report; readonly warn: Report },
): TokenAttributes | undefined {
  if (!isFields(value)) {
    problem(place, "it is not an object", "write serviceAccountTokenAudience and the rest below");
    return undefined;
  }
  let isGood = true;
  const refuse: Report = (...words) => {
    isGood = false;
    problem(...words);
  };
  for (const field of unknownFields(value, FIELDS)) {
    warn(`${place}.${field}`, "an unknown field is ignored", "remove it, or check its spelling");
  }
  const audience = goString(goField(value, "serviceAccountTokenAudience") ?? "") ?? "";
  if (audience === "") {
    refuse(
      `${place}.serviceAccountTokenAudience`,
      "it is required",
      "set the audience of the token",
    );
  }
  const require = goField(value, "requireServiceAccount");
  if (typeof require !== "boolean") {
    refuse(`${place}.requireServiceAccount`, "it is required", "write true or false");
  }
  const requiredAnnotations = keysOf(value, "requiredServiceAccountAnnotationKeys", place, refuse);
  const optionalAnnotations = keysOf(value, "optionalServiceAccountAnnotationKeys", place, refuse);
  if (require === false && requiredAnnotations.length > 0) {
    const at = `${place}.requiredServiceAccountAnnotationKeys`;
    const what = "annotations cannot be required unless a service account is";
    refuse(at, what, "set requireServiceAccount: true");
  }
  const both = requiredAnnotations.filter((key) => key !== "" && optionalAnnotations.includes(key));
  if (both.length > 0) {
    refuse(place, `${both.join(", ")}: both required and optional`, "keep one of the two");
  }
  const declaredType = goField(value, "cacheType");
  const cacheType = CACHE_TYPES.find((type) => type === declaredType);
  if (cacheType === undefined) {
    const isMissing = declaredType === undefined || declaredType === "";
    const what = isMissing ? "it is required" : "this type is not supported";
    refuse(`${place}.cacheType`, what, `write ${CACHE_TYPES.join(" or ")}`);
  }
  if (!isGood || cacheType === undefined) return undefined;
  return {
    audience,
    requireServiceAccount: require === true,
    requiredAnnotations,
    optionalAnnotations,
    cacheType,
  };
}

const KEY_PREFIX = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
const KEY_NAME = /^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/;

/** Reads annotation keys: Kubernetes qualified names, in any letter case. */
function keysOf(fields: Fields, field: string, place: string, refuse: Report): readonly string[] {
  const at = `${place}.${field}`;
  const list = goField(fields, field) ?? [];
  if (!Array.isArray(list)) {
    refuse(at, "it is not a list", "write a list of annotation keys");
    return [];
  }
  const keys = list.map((key: unknown, i) => {
    if (typeof key === "string" && isQualifiedName(key.toLowerCase())) return key;
    refuse(
      `${at}[${i}]`,
      "it is not a valid annotation key",
      "write a key such as example.com/role",
    );
    return "";
  });
  keys.forEach((key, i) => {
    if (key !== "" && keys.indexOf(key) !== i) {
      refuse(`${at}[${i}]`, `the key ${key} is listed twice`, "list each key once");
    }
  });
  return keys;
}

function isQualifiedName(key: string): boolean {
  const parts = key.split("/");
  const name = parts.at(-1) ?? "";
  if (parts.length > 2 || !KEY_NAME.test(name)) return false;
  const [prefix] = parts;
  return parts.length === 1 || (prefix ?? "").length <= 253 && KEY_PREFIX.test(prefix ?? "");
}
