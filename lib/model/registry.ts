import type { CallOptions } from "./ports.ts";
import type { Secret } from "./secret.ts";

/** What a registry is asked about, and how it is reached: as nydusd reaches it. */
export interface ProbeTarget {
  readonly scheme: "http" | "https";
  /** Host, with port where there is one. */
  readonly host: string;
  readonly repository: string;
  /** Tag or digest of the manifest to ask for; without it the repository's tags are. */
  readonly reference?: string;
  /** Digest of a blob to ask for instead of the manifest. */
  readonly blob?: string;
  /** Believe any certificate. */
  readonly skipVerify: boolean;
  /** PEM files with authorities that are trusted beside the system's. */
  readonly caFiles: readonly string[];
  /** The proxy to go through; may hold a password. */
  readonly proxyUrl?: Secret;
  /** Where nydusd goes when this way leads nowhere. */
  readonly fallback?: ProbeTarget;
}

/**
 * What the registry thinks of a credential. `accepted`: it serves the image for it; `anonymous`: it
 * serves the image without any; `refused`: it does not take the credential (unknown, or expired);
 * `forbidden`: it takes it, but not for this repository; `not-found`: it takes it and has no such
 * image. The others say nothing about the credential: `unreachable`, `throttled`, and `unknown` for
 * an answer from which nothing follows.
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

/** A verdict, with its ground in words that quote neither a credential nor an unbounded body. */
export type ProbeVerdict =
  | { readonly kind: Exclude<VerdictKind, "throttled">; readonly detail: string }
  | {
    readonly kind: "throttled";
    readonly detail: string;
    /** Wall time before which asking again is of no use. */
    readonly retryAtMs: number;
  };

/** One HTTP request to a registry or its token service. No redirect is followed. */
export interface RegistryHttpRequest {
  readonly method: "GET" | "HEAD" | "POST";
  /** Never holds a secret. */
  readonly url: string;
  /** Names and values; a value may be a credential. */
  readonly headers: readonly (readonly [name: string, value: Secret])[];
  /** Sent as it is; its type is in the headers. */
  readonly body?: Secret;
  readonly skipVerify: boolean;
  readonly caFiles: readonly string[];
  readonly proxyUrl?: Secret;
  readonly timeoutMs: number;
  /** More of the body than this is not read, and is no error. */
  readonly maxBytes: number;
}

/** An answer, or why there is none. The body may hold a token: it is a `Secret`. */
export type RegistryHttpResult =
  | {
    readonly kind: "answered";
    readonly status: number;
    /** By name in lower case; several of one name are joined with `, `. */
    readonly headers: ReadonlyMap<string, string>;
    readonly body: Secret;
  }
  | { readonly kind: "timed-out" }
  | { readonly kind: "unreachable"; readonly detail: string };

/** HTTP to registries. Never rejects but for `signal`. */
export interface RegistryHttp extends Disposable {
  request(request: RegistryHttpRequest, options?: CallOptions): Promise<RegistryHttpResult>;
}
