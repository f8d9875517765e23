import type { RegistryBackend } from "./endpoint.ts";
import type { Secret } from "./credential.ts";

/** Options of every cancellable call. An abort rejects with the signal's reason. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** Wall time, which may step, for expiry; monotonic time for durations. */
export interface Clock {
  wallMs(): number;
  monotonicMs(): number;
  /** Supports more than 2^31 ms. Rejects with the signal's reason when aborted. */
  sleep(ms: number, options?: CallOptions): Promise<void>;
  /**
   * Calls `run` after each interval, which may be rounded down to a multiple of 800 ms, with its
   * delay in ms. The intervals of all callers end in the same wakeups of the process.
   */
  every(intervalMs: number, run: (delayMs: number) => void): Disposable;
}

/** A child process to run until it exits. Secrets are passed on stdin, never in `args`. */
export interface ProcessRequest {
  readonly path: string;
  readonly args: readonly string[];
  /** Added to the agent's environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** After this time the process group receives SIGTERM, and SIGKILL after a grace period. */
  readonly timeoutMs: number;
  readonly maxStdoutBytes: number;
}

/** How a child process ended. Never log its output, which may contain secrets. */
export type ProcessResult =
  | {
    readonly kind: "exited";
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
  }
  | { readonly kind: "timed-out"; readonly stderr: string }
  | { readonly kind: "too-much-output"; readonly stderr: string }
  | { readonly kind: "not-started"; readonly reason: "missing" | "not-executable" | "other" };

/** Runs child processes, each in its own process group. Rejects only if `signal` aborts. */
export interface ProcessRunner {
  run(request: ProcessRequest, options?: CallOptions): Promise<ProcessResult>;
}

/** Metadata of a file. `stamp` changes whenever the content may have changed. */
export interface FileStat {
  readonly kind: "file" | "directory" | "socket" | "symlink" | "other";
  readonly stamp: string;
  /** Wall time of the last change of the content, if known. */
  readonly mtimeMs?: number;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** The file system. Throws an `AgentError` with code `io`. */
export interface FileSystem {
  /** Returns the text of a file of at most `maxBytes` (default 4 MiB); undefined if missing. */
  readText(path: string, options?: { readonly maxBytes?: number }): Promise<string | undefined>;
  /** Returns undefined if missing. Follows a symbolic link unless `noFollow` is set. */
  stat(path: string, options?: { readonly noFollow?: boolean }): Promise<FileStat | undefined>;
  /** Returns the sorted names in a directory; empty if the directory is missing. */
  list(path: string): Promise<readonly string[]>;
  /**
   * Replaces a file atomically: temporary file in the same folder, fsync, rename. The file never has
   * more permissions than `mode`. Without an owner it belongs to the process.
   */
  writeAtomic(
    path: string,
    text: string,
    options: { readonly mode: number; readonly owner?: Pick<FileStat, "uid" | "gid"> },
  ): Promise<void>;
  /**
   * Calls back shortly after anything below one of the paths may have changed, including when a path
   * is created or replaced. Bursts are merged. Disposing stops the watch.
   *
   * @param changed Gets the changed path, and the one of `paths` that it belongs to.
   */
  watch(
    paths: readonly string[],
    changed: (path: string, watched: string) => void,
  ): Disposable;
}

/** An HTTP/1.1 request over a unix socket. */
export interface UnixHttpRequest {
  readonly socketPath: string;
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Path and query. */
  readonly path: string;
  /** JSON text, sent with a `Content-Length`. */
  readonly body?: Secret;
  readonly timeoutMs: number;
  readonly maxBytes?: number;
}

/** A response, or why there is none. The body may contain a credential. */
export type UnixHttpResult =
  | { readonly kind: "answered"; readonly status: number; readonly body: Secret }
  | { readonly kind: "no-socket" } // the socket file does not exist
  | { readonly kind: "no-listener" } // the socket file exists, but no process listens
  | { readonly kind: "timed-out" }
  | { readonly kind: "broken"; readonly detail: string }; // truncated, too long, or not HTTP

/** HTTP client for unix sockets. Rejects only if `signal` aborts. */
export interface UnixHttp extends Disposable {
  request(request: UnixHttpRequest, options?: CallOptions): Promise<UnixHttpResult>;
}

/** Source of random numbers in [0, 1). */
export interface Random {
  next(): number;
}

/** Result of a call to an API on a unix socket. `detail` never quotes a body. */
export type PeerResult<T> = { readonly kind: "ok"; readonly value: T } | PeerFailure;

/** Why a call has no result. */
export type PeerFailure =
  | Exclude<UnixHttpResult, { readonly kind: "answered" }>
  | { readonly kind: "refused"; readonly status: number; readonly detail: string };

/** Describes a failed call for logs and the status. */
export function describeFailure(failure: PeerFailure): string {
  switch (failure.kind) {
    case "no-socket":
      return "the socket does not exist";
    case "no-listener":
      return "the socket file exists, but no process listens on it";
    case "timed-out":
      return "no answer in time";
    case "refused":
    case "broken":
      return failure.detail;
  }
}

/** A mount as reported by nydusd (`GET /api/v1/daemon`, `backend_collection`). */
export interface NydusdMount {
  /** The id to `PUT` to: `/` or `/<snapshotID>`. */
  readonly mountId: string;
  readonly backendType: string;
  /** Undefined if the mount does not read from a registry. */
  readonly backend?: RegistryBackend;
}

/** What a nydusd reports about itself. */
export interface NydusdInfo {
  readonly version: string;
  /** nydusd's name of the state: `INIT`, `READY`, `RUNNING`, `STOPPED`, … */
  readonly state: string;
  readonly mounts: readonly NydusdMount[];
}

/** nydusd's HTTP API. Calls to different daemons are independent; deadlines are short. */
export interface NydusdApi {
  info(socketPath: string, options?: CallOptions): Promise<PeerResult<NydusdInfo>>;
  /**
   * Returns the `registry_auth` of every mount, or of one mount, by mount id. A mount that started
   * without a credential is missing. `refused` with 404: the daemon does not have this API.
   */
  readAuths(
    socketPath: string,
    options?: CallOptions & { readonly mountId?: string },
  ): Promise<PeerResult<ReadonlyMap<string, Secret>>>;
  /** Stores a value. Refuses an empty one, which would delete nydusd's credential. */
  putAuth(
    socketPath: string,
    mountId: string,
    auth: Secret,
    options?: CallOptions,
  ): Promise<PeerResult<void>>;
  /** Returns reads and failed reads since the daemon started (`GET /api/v1/metrics/backend`). */
  backendReads(
    socketPath: string,
    options?: CallOptions & { readonly mountId?: string },
  ): Promise<PeerResult<{ readonly reads: number; readonly errors: number }>>;
}

/** A daemon as listed by the snapshotter's system API. */
export interface SnapshotterDaemon {
  readonly id: string;
  readonly pid: number;
  readonly apiSocket: string;
  readonly instances: readonly {
    readonly snapshotId: string;
    readonly imageId: string;
  }[];
}

/** The snapshotter's system API, of which only the list of daemons is used. */
export interface SnapshotterApi {
  daemons(
    socketPath: string,
    options?: CallOptions,
  ): Promise<PeerResult<readonly SnapshotterDaemon[]>>;
}

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
