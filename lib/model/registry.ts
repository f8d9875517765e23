import type { CallOptions } from "./ports.ts";
import type { Secret } from "./secret.ts";

/** The target of a registry probe, with nydusd's connection settings. */
export interface ProbeTarget {
  readonly scheme: "http" | "https";
  /** Host, with the port if there is one. */
  readonly host: string;
  readonly repository: string;
  /** Tag or digest of the manifest to request; without it the list of tags is requested. */
  readonly reference?: string;
  /** Whether to skip certificate verification. */
  readonly skipVerify: boolean;
  /** PEM files with CA certificates that are trusted in addition to the system's. */
  readonly caFiles: readonly string[];
  /** URL of the proxy; may contain a password. */
  readonly proxyUrl?: Secret;
  /** The target that nydusd falls back to if this one is unreachable. */
  readonly fallback?: ProbeTarget;
}

/**
 * Kinds of verdicts of a registry on a credential. `accepted`: it serves the image with it;
 * `anonymous`: it serves the image without a credential; `refused`: the credential is invalid or
 * expired; `forbidden`: the credential is valid, but not for this repository; `not-found`: the
 * credential is valid, and the image does not exist. The others are inconclusive: `unreachable`,
 * `throttled`, and `unknown` for any other response.
 */
export const VERDICT_KINDS = [
  "accepted",
  "anonymous",
  "refused",
  "forbidden",
  "not-found",
  "unreachable",
  "throttled",
  "unknown",
] as const;
/** One of {@linkcode VERDICT_KINDS}. */
export type VerdictKind = (typeof VERDICT_KINDS)[number];

/** A verdict. `detail` contains no credential and is limited in length. */
export type ProbeVerdict =
  | { readonly kind: Exclude<VerdictKind, "throttled">; readonly detail: string }
  | {
    readonly kind: "throttled";
    readonly detail: string;
    /** Wall time before which a retry cannot succeed. */
    readonly retryAtMs: number;
  };

/** An HTTP request to a registry or its token service. Redirects are not followed. */
export interface RegistryHttpRequest {
  readonly method: "GET" | "HEAD" | "POST";
  /** Never contains a secret. */
  readonly url: string;
  /** Names and values; a value may be a credential. */
  readonly headers: readonly (readonly [name: string, value: Secret])[];
  /** Sent unchanged; its content type is in the headers. */
  readonly body?: Secret;
  readonly skipVerify: boolean;
  readonly caFiles: readonly string[];
  readonly proxyUrl?: Secret;
  readonly timeoutMs: number;
  /** The rest of a longer body is ignored. */
  readonly maxBytes: number;
}

/** A response, or why there is none. The body may contain a token. */
export type RegistryHttpResult =
  | {
    readonly kind: "answered";
    readonly status: number;
    /** By lower-case name; repeated headers are joined with `, `. */
    readonly headers: ReadonlyMap<string, string>;
    readonly body: Secret;
  }
  | { readonly kind: "timed-out" }
  | { readonly kind: "unreachable"; readonly detail: string };

/** HTTP client for registries. Rejects only if `signal` aborts. */
export interface RegistryHttp extends Disposable {
  request(request: RegistryHttpRequest, options?: CallOptions): Promise<RegistryHttpResult>;
}
