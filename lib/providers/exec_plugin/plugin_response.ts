import { type Credential, credentialFromPair, parseDurationMs } from "../../model/mod.ts";
import { goField, isFields } from "../../formats/mod.ts";
import { PLUGIN_API_VERSION } from "./plugin_api.ts";

/** What a plugin's answer holds for; closed, as the protocol has it. */
export type CacheKeyType = "Image" | "Registry" | "Global";

/** What a plugin said of one pattern. */
export interface PluginAuth {
  readonly pattern: string;
  readonly username: string;
  /** Undefined: anonymous, or a user name alone. */
  readonly credential?: Credential;
}

/** A plugin's answer, decoded. */
export interface PluginResponse {
  readonly cacheKeyType: CacheKeyType;
  /** How long it may be cached, in milliseconds; 0 = not at all. */
  readonly cacheDurationMs: number;
  /** Undefined: the plugin has nothing for this image. */
  readonly auth?: readonly PluginAuth[];
}

/** An answer, or what is wrong with it in words that never quote it. */
export type PluginReading =
  | { readonly kind: "ok"; readonly response: PluginResponse }
  | { readonly kind: "invalid"; readonly detail: string };

const KEY_TYPES: readonly string[] = ["Image", "Registry", "Global"];

/**
 * Decodes a `CredentialProviderResponse` (Kubernetes
 * `staging/src/k8s.io/kubelet/pkg/apis/credentialprovider/v1/types.go`). An absent or negative
 * `cacheDuration` means the default, 0 means "do not cache", a null `auth` means nothing for this
 * image.
 */
export function readPluginResponse(stdout: string, defaultCacheDurationMs: number): PluginReading {
  const invalid = (detail: string) => ({ kind: "invalid", detail }) as const;
  let body: unknown;
  try {
    body = JSON.parse(stdout);
  } catch {
    return invalid("its answer is not one JSON object");
  }
  if (!isFields(body)) return invalid("its answer is not a JSON object");
  const version = goField(body, "apiVersion");
  if (version !== PLUGIN_API_VERSION) {
    return invalid(`its answer's apiVersion is not ${PLUGIN_API_VERSION}`);
  }
  const type = goField(body, "cacheKeyType");
  if (typeof type !== "string" || !KEY_TYPES.includes(type)) {
    return invalid(`its answer's cacheKeyType is none of ${KEY_TYPES.join(", ")}`);
  }
  const duration = readDuration(goField(body, "cacheDuration"), defaultCacheDurationMs);
  if (duration === undefined) return invalid("its answer's cacheDuration is not a duration");
  const auth = readAuth(goField(body, "auth"));
  if (auth === "invalid") {
    return invalid("its answer's auth is not a map of patterns to user name and password");
  }
  return {
    kind: "ok",
    response: {
      cacheKeyType: type as CacheKeyType,
      cacheDurationMs: duration,
      ...(auth !== undefined && { auth }),
    },
  };
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

function readAuth(value: unknown): readonly PluginAuth[] | undefined | "invalid" {
  if (value === undefined) return undefined;
  if (!isFields(value)) return "invalid";
  const auths: PluginAuth[] = [];
  for (const [pattern, entry] of Object.entries(value)) {
    if (entry !== null && !isFields(entry)) return "invalid";
    const username = goField(entry ?? {}, "username") ?? "";
    const password = goField(entry ?? {}, "password") ?? "";
    if (typeof username !== "string" || typeof password !== "string") return "invalid";
    const credential = credentialFromPair(username, password);
    auths.push({ pattern, username, ...(credential && { credential }) });
  }
  return auths;
}
