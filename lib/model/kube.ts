import type { CallOptions } from "./ports.ts";
import type { Secret } from "./secret.ts";

/** How a Kubernetes API server is reached. Certificates are PEM texts. */
export interface KubeConnection {
  /** `https://host:port`, with a path where a gateway wants one, without a slash at its end. */
  readonly server: string;
  /** Trusted for this connection. */
  readonly caPem?: string;
  /** Ours, with its key: both or none. */
  readonly certPem?: string;
  readonly keyPem?: Secret;
  /** Believe any certificate (`insecure-skip-tls-verify`). */
  readonly skipVerify: boolean;
  /** The name that the server's certificate must carry, where it is not the host's. */
  readonly serverName?: string;
  /** `http`, `https` or `socks5`; may hold a password. */
  readonly proxyUrl?: Secret;
}

/** One HTTP request to an API server. */
export interface KubeHttpRequest {
  readonly connection: KubeConnection;
  readonly method: "GET" | "POST";
  /** Path and query. Never holds a secret. */
  readonly path: string;
  /** Names and values; a value may be a credential. */
  readonly headers: readonly (readonly [name: string, value: Secret])[];
  readonly body?: string;
  /** Servers bound the open calls of one connection: those of another lane go over another one. */
  readonly lane?: number;
  /** Until the answer is whole; of a stream, until it begins. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

/** A whole answer. It may hold a secret: it is one. */
export interface KubeHttpResponse {
  readonly kind: "answered";
  readonly status: number;
  readonly body: Secret;
  /** What `Retry-After` asks for. */
  readonly retryAfterMs?: number;
}

/** Why there is no answer. `detail` quotes nothing that was sent or received. */
export type KubeHttpFailure =
  | { readonly kind: "timed-out" }
  | { readonly kind: "too-large" }
  | { readonly kind: "unreachable"; readonly detail: string };

/**
 * How a stream of lines came to its end. `answered`: this came instead of one; a failure: it never
 * began, or a line was too large; `cut`: it began, and then the connection was lost.
 */
export type KubeStreamEnd =
  | KubeHttpResponse
  | KubeHttpFailure
  | { readonly kind: "ended" }
  | { readonly kind: "cut" };

/** HTTP to API servers. Never rejects but for `signal`, or what a listener throws. */
export interface KubeHttp extends Disposable {
  request(
    request: KubeHttpRequest,
    options?: CallOptions,
  ): Promise<KubeHttpResponse | KubeHttpFailure>;
  /**
   * Calls back when an answer that goes on begins, and for every whole line of it; what is left of
   * a line that was cut is dropped. When nothing comes for `idleMs` it is cut.
   */
  stream(
    request: KubeHttpRequest & { readonly idleMs: number },
    handlers: KubeStreamHandlers,
    options?: CallOptions,
  ): Promise<KubeStreamEnd>;
}

/** Who listens to a stream. */
export interface KubeStreamHandlers {
  started(): void;
  line(text: string): void;
}
