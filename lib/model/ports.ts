import type { RegistryBackend } from "./registry_backend.ts";
import type { Secret } from "./secret.ts";

/** What every cancellable call takes last. Abort rejects with the signal's reason. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** Two clocks: the wall for expiry (it may step), the monotonic one for elapsed time. */
export interface Clock {
  wallMs(): number;
  monotonicMs(): number;
  /** Any length, also beyond 2^31 ms. Rejects with the signal's reason when aborted. */
  sleep(ms: number, options?: CallOptions): Promise<void>;
}

/** A child process to run to its end. Secrets go in on stdin, never in `args`. */
export interface ProcessRequest {
  readonly path: string;
  readonly args: readonly string[];
  /** Added to our own environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** TERM to the whole process group at this age, KILL after a short grace. */
  readonly timeoutMs: number;
  readonly maxStdoutBytes: number;
}

/** How a child process ended. Its output may hold secrets: never log it as it is. */
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

/** Runs child processes, each in a process group of its own. Never rejects but for `signal`. */
export interface ProcessRunner {
  run(request: ProcessRequest, options?: CallOptions): Promise<ProcessResult>;
}

/** What a look at a path finds. `stamp` changes whenever the content may have. */
export interface FileStat {
  readonly kind: "file" | "directory" | "socket" | "symlink" | "other";
  readonly stamp: string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** The file system as the agent needs it. Failures are `AgentError` with code `io`. */
export interface FileSystem {
  /** The text of a file of at most `maxBytes` (default 4 MiB); undefined when there is none. */
  readText(path: string, options?: { readonly maxBytes?: number }): Promise<string | undefined>;
  /** Undefined when there is nothing; a link is followed unless `noFollow`. */
  stat(path: string, options?: { readonly noFollow?: boolean }): Promise<FileStat | undefined>;
  /** Names in a directory, sorted; empty when there is none. */
  list(path: string): Promise<readonly string[]>;
  /**
   * Replaces a file whole: temporary file in the same folder, fsync, rename. Never more readable
   * than `mode`; owned by `uid` and `gid` where given.
   */
  writeAtomic(
    path: string,
    text: string,
    options: { readonly mode: number; readonly uid?: number; readonly gid?: number },
  ): Promise<void>;
  /**
   * Calls back soon after anything below one of the paths may have changed, also when a path does
   * not exist yet or is replaced. Bursts are merged. Disposing stops it.
   */
  watch(paths: readonly string[], changed: (path: string) => void): Disposable;
}

/** One HTTP/1.1 request over a unix socket. */
export interface UnixHttpRequest {
  readonly socketPath: string;
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Path and query. */
  readonly path: string;
  /** JSON text; sent with a Content-Length. */
  readonly body?: Secret;
  readonly timeoutMs: number;
  readonly maxBytes?: number;
}

/** An answer, or why there is none. A body may hold a credential: it is a `Secret`. */
export type UnixHttpResult =
  | { readonly kind: "answered"; readonly status: number; readonly body: Secret }
  | { readonly kind: "no-socket" } // the path does not exist
  | { readonly kind: "no-listener" } // a socket file that outlived its process
  | { readonly kind: "timed-out" }
  | { readonly kind: "broken"; readonly detail: string }; // cut off, too long, not HTTP

/** HTTP over unix sockets. Never rejects but for `signal`. */
export interface UnixHttp extends Disposable {
  request(request: UnixHttpRequest, options?: CallOptions): Promise<UnixHttpResult>;
}

/** Numbers in [0, 1). */
export interface Random {
  next(): number;
}

/** What a peer on a unix socket answered, or why it did not. `detail` never quotes a body. */
export type PeerResult<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "refused"; readonly status: number; readonly detail: string }
  | { readonly kind: "no-socket" }
  | { readonly kind: "no-listener" }
  | { readonly kind: "timed-out" }
  | { readonly kind: "broken"; readonly detail: string };

/** A mount as nydusd itself tells it (`GET /api/v1/daemon`, `backend_collection`). */
export interface NydusdMount {
  /** `/` or `/<snapshotID>`: the id to `PUT` to. */
  readonly mountId: string;
  readonly backendType: string;
  /** Undefined when it reads from no registry. */
  readonly backend?: RegistryBackend;
}

/** What a nydusd says of itself. */
export interface NydusdInfo {
  readonly version: string;
  /** nydusd's own word: `INIT`, `READY`, `RUNNING`, `STOPPED`, … */
  readonly state: string;
  readonly mounts: readonly NydusdMount[];
}

/** nydusd's HTTP API. Calls of one daemon are its own affair; deadlines are short. */
export interface NydusdApi {
  info(socketPath: string, options?: CallOptions): Promise<PeerResult<NydusdInfo>>;
  /**
   * Every mount's `registry_auth` by mount id, or that of one mount alone. A mount that started
   * without a credential has no key. `refused` 404: the daemon has no such API.
   */
  readAuths(
    socketPath: string,
    options?: CallOptions & { readonly mountId?: string },
  ): Promise<PeerResult<ReadonlyMap<string, Secret>>>;
  /** Stores a value. An empty one is refused here, before it can clear what nydusd holds. */
  putAuth(
    socketPath: string,
    mountId: string,
    auth: Secret,
    options?: CallOptions,
  ): Promise<PeerResult<void>>;
  /** Failed and tried reads since the daemon started (`GET /api/v1/metrics/backend`). */
  backendReads(
    socketPath: string,
    options?: CallOptions & { readonly mountId?: string },
  ): Promise<PeerResult<{ readonly reads: number; readonly errors: number }>>;
}

/** A daemon as the snapshotter's system API lists it. */
export interface SnapshotterDaemon {
  readonly id: string;
  readonly pid: number;
  readonly apiSocket: string;
  readonly instances: readonly {
    readonly snapshotId: string;
    readonly imageId: string;
  }[];
}

/** The snapshotter's system API: its list of daemons, and nothing else (its backend call leaks). */
export interface SnapshotterApi {
  daemons(
    socketPath: string,
    options?: CallOptions,
  ): Promise<PeerResult<readonly SnapshotterDaemon[]>>;
}
