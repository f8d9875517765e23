import {
  credentialFromPair,
  defined,
  type ImageReference,
  parseDurationMs,
  PLUGIN_API_VERSION,
  type Secret,
} from "../../model/mod.ts";
import { goField, isFields } from "../../formats/mod.ts";
import type { CacheKeyType, ProgramAuth, ProgramResponse } from "../program/mod.ts";

const CACHE_KEY_TYPES: readonly CacheKeyType[] = ["Image", "Registry", "Global"];

/** A decoded response, or why it is invalid. The detail never quotes the response. */
export type PluginReading =
  | { readonly kind: "ok"; readonly response: ProgramResponse }
  | { readonly kind: "invalid"; readonly detail: string };

/** Encodes a `CredentialProviderRequest`, with service account data (KEP-4412) and thus a token. */
export function pluginRequest(
  image: ImageReference,
  serviceAccount?: { readonly token: Secret; readonly annotations: Record<string, string> },
): string {
  const { token, annotations = {} } = serviceAccount ?? {};
  const hasAnnotations = Object.keys(annotations).length > 0;
  return JSON.stringify({
    kind: "CredentialProviderRequest",
    apiVersion: PLUGIN_API_VERSION,
    image: image.text,
    serviceAccountToken: token?.reveal(),
    serviceAccountAnnotations: hasAnnotations ? annotations : undefined,
  });
}

/**
 * Decodes a `CredentialProviderResponse` (Kubernetes
 * `staging/src/k8s.io/kubelet/pkg/apis/credentialprovider/v1/types.go`). An absent or negative
 * `cacheDuration` means the default, 0 means that the response is not cached, and a null `auth`
 * that the plugin has no credential for the image.
 */
export function readPluginResponse(stdout: string, defaultCacheDurationMs: number): PluginReading {
  const invalid = (detail: string) => ({ kind: "invalid", detail }) as const;
  let body: unknown;
  try {
    body = JSON.parse(stdout);
  } catch {
    return invalid("the response is not a single JSON value");
  }
  if (!isFields(body)) return invalid("the response is not a JSON object");
  if (goField(body, "apiVersion") !== PLUGIN_API_VERSION) {
    return invalid(`apiVersion of the response is not ${PLUGIN_API_VERSION}`);
  }
  const declaredType = goField(body, "cacheKeyType");
  const cacheKeyType = CACHE_KEY_TYPES.find((type) => type === declaredType);
  if (cacheKeyType === undefined) {
    return invalid(`cacheKeyType of the response is not one of ${CACHE_KEY_TYPES.join(", ")}`);
  }
  const cacheDurationMs = readDuration(goField(body, "cacheDuration"), defaultCacheDurationMs);
  if (cacheDurationMs === undefined) {
    return invalid("cacheDuration of the response is not a duration");
  }
  const auth = readAuth(goField(body, "auth"));
  if (auth === "invalid") {
    return invalid("auth of the response is not a map of patterns to username and password");
  }
  return { kind: "ok", response: { cacheKeyType, cacheDurationMs, ...defined({ auth }) } };
}

function readDuration(value: unknown, defaultMs: number): number | undefined {
  if (value === undefined) return defaultMs;
  if (typeof value !== "string") return undefined;
  try {
    const ms = parseDurationMs(value);
    return ms < 0 ? defaultMs : ms;
  } catch {
    return undefined;
  }
}

function readAuth(value: unknown): readonly ProgramAuth[] | undefined | "invalid" {
  if (value === undefined) return undefined;
  if (!isFields(value)) return "invalid";
  const auths: ProgramAuth[] = [];
  for (const [pattern, entry] of Object.entries(value)) {
    if (entry !== null && !isFields(entry)) return "invalid";
    const username = goField(entry ?? {}, "username") ?? "";
    const password = goField(entry ?? {}, "password") ?? "";
    if (typeof username !== "string" || typeof password !== "string") return "invalid";
    const credential = credentialFromPair(username, password);
    auths.push({ pattern, username, ...defined({ credential }) });
  }
  return auths;
}
