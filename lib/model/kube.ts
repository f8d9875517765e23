import type { ImageReference } from "./image_reference.ts";
import type { CallOptions } from "./ports.ts";
import type { ReasonCode } from "./provider.ts";
import type { Secret } from "./secret.ts";

/** How to connect to a Kubernetes API server. Certificates are PEM texts. */
export interface KubeConnection {
  /** `https://host:port`, with a path if a gateway needs one, without a trailing slash. */
  readonly server: string;
  /** CA certificates that are trusted for this connection. */
  readonly caPem?: string;
  /** Client certificate and its key; both or neither. */
  readonly certPem?: string;
  readonly keyPem?: Secret;
  /** Whether to skip certificate verification (`insecure-skip-tls-verify`). */
  readonly skipVerify: boolean;
  /** Expected name in the server's certificate, if it differs from the host. */
  readonly serverName?: string;
  /** `http`, `https` or `socks5`; may contain a password. */
  readonly proxyUrl?: Secret;
}

/** An HTTP request to an API server. */
export interface KubeHttpRequest {
  readonly connection: KubeConnection;
  readonly method: "GET" | "POST";
  /** Path and query. Never contains a secret. */
  readonly path: string;
  /** Names and values; a value may be a credential. */
  readonly headers: readonly (readonly [name: string, value: Secret])[];
  readonly body?: string;
  /** Until the response is complete; for a stream, until it starts. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

/** A complete response. The body may contain a credential. */
export interface KubeHttpResponse {
  readonly kind: "answered";
  readonly status: number;
  readonly body: Secret;
  /** Value of the `Retry-After` header. */
  readonly retryAfterMs?: number;
}

/** Why there is no response. `detail` quotes nothing that was sent or received. */
export type KubeHttpFailure =
  | { readonly kind: "timed-out" }
  | { readonly kind: "too-large" }
  | { readonly kind: "unreachable"; readonly detail: string };

/**
 * How a stream of lines ended. `answered`: the server sent a response without a stream; a failure:
 * the stream did not start, or a line was too large; `cut`: the connection was lost.
 */
export type KubeStreamEnd =
  | KubeHttpResponse
  | KubeHttpFailure
  | { readonly kind: "ended" }
  | { readonly kind: "cut" };

/** HTTP client for API servers. Rejects only if `signal` aborts or a handler throws. */
export interface KubeHttp extends Disposable {
  request(
    request: KubeHttpRequest,
    options?: CallOptions,
  ): Promise<KubeHttpResponse | KubeHttpFailure>;
  /**
   * Calls the handlers when a streamed response starts and for each complete line; an incomplete
   * last line is dropped. The stream is cut after `idleMs` without data.
   */
  stream(
    request: KubeHttpRequest & { readonly idleMs: number },
    handlers: KubeStreamHandlers,
    options?: CallOptions,
  ): Promise<KubeStreamEnd>;
}

/** Handlers of a stream. */
export interface KubeStreamHandlers {
  started(): void;
  line(text: string): void;
}

/** A pod and its service account. */
export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Empty if the pod has none, such as a static pod. */
  readonly serviceAccount: string;
}

/** Why the API server returned no result. */
export interface AccountProblem {
  readonly kind: "failed";
  readonly reason: ReasonCode;
  readonly detail: string;
}

/** The pods of this node that currently use an image. */
export type PodsResult =
  | {
    readonly kind: "pods";
    readonly pods: readonly PodIdentity[];
    /** Possible reason for an empty list. */
    readonly detail?: string;
  }
  | AccountProblem;

/** The current state of a service account. */
export type AccountResult =
  | {
    readonly kind: "account";
    readonly uid: string;
    readonly annotations: Readonly<Record<string, string>>;
  }
  | { readonly kind: "gone" }
  | AccountProblem;

/** A token bound to a pod. */
export type TokenResult =
  | { readonly kind: "token"; readonly token: Secret; readonly expiresAtMs?: number }
  | { readonly kind: "gone" }
  | AccountProblem;

/** Pods and service accounts for plugins that need tokens. Never rejects. */
export interface PodAccounts {
  podsOf(image: ImageReference): Promise<PodsResult>;
  /** Returns the service account of a pod that {@linkcode PodAccounts.podsOf} returned. */
  account(pod: PodIdentity): Promise<AccountResult>;
  /** @param accountUid Expected UID of the account; `gone` if it has changed. */
  token(pod: PodIdentity, audience: string, accountUid: string): Promise<TokenResult>;
}
