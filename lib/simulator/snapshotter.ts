import { defined, type UnixHttpRequest } from "../model/mod.ts";
import { createUnixHttp } from "../platform/mod.ts";

/** A daemon in the list of the system API. */
export interface ListedSimDaemon {
  readonly id: string;
  readonly pid: number;
  readonly apiSocket: string;
  readonly instances: readonly {
    readonly snapshotId: string;
    readonly image: string;
    readonly mountpoint: string;
    readonly snapshotDir: string;
  }[];
}

/** A fault of the system API; `flapping` omits random daemons from each list. */
export type SnapshotterFault = "none" | "garbage" | "unresponsive" | "flapping";

const METRICS_TIMEOUT_MS = 30_000;

/**
 * The snapshotter's system API. Like the real one, it queries the metrics of every nydusd for each
 * list, so a stopped nydusd blocks it, and the list has no stable order.
 */
export class SimSnapshotter implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.UnixAddr>;
  readonly #stop = new AbortController();
  readonly #daemons: () => readonly ListedSimDaemon[];
  readonly #backend: (id: string) => unknown;
  fault: SnapshotterFault = "none";
  /** Number of requests for an unmasked credential, which the agent must never send. */
  backendCalls = 0;

  constructor(
    path: string,
    daemons: () => readonly ListedSimDaemon[],
    backend: (id: string) => unknown,
  ) {
    this.#daemons = daemons;
    this.#backend = backend;
    try {
      Deno.removeSync(path);
    } catch {
      // The socket did not exist.
    }
    const { signal } = this.#stop;
    const options = { path, transport: "unix", onListen: () => {}, signal } as const;
    this.#server = Deno.serve(
      options as Deno.ServeUnixOptions,
      (request) => this.#answer(request),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A graceful shutdown would wait for responses that a stopped nydusd blocks.
    this.#stop.abort();
    await this.#server.finished;
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const [, id] = /^\/api\/v1\/daemons\/([^/]+)\/backend$/.exec(pathname) ?? [];
    if (id !== undefined) {
      this.backendCalls++;
      return textPlain(this.#backend(id));
    }
    if (pathname !== "/api/v1/daemons") return new Response("not found", { status: 404 });
    if (this.fault === "unresponsive") await aborted(this.#stop.signal);
    if (this.fault === "garbage") return new Response('[{"id": 7, "api_so');
    const shown = this.#daemons().filter(() => this.fault !== "flapping" || Math.random() < 0.5);
    const daemons = [...shown].sort(() => Math.random() - 0.5);
    for (const { apiSocket } of daemons) await queryMetrics(apiSocket, this.#stop.signal);
    return textPlain(daemons.map(listed));
  }
}

/** Returns JSON with the content type of the real snapshotter. */
function textPlain(value: unknown): Response {
  const headers = { "content-type": "text/plain; charset=utf-8" };
  return new Response(JSON.stringify(value ?? {}), { headers });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

async function queryMetrics(path: string, stop: AbortSignal): Promise<void> {
  try {
    await requestUnix({
      socketPath: path,
      method: "GET",
      path: "/api/v1/metrics/backend",
      timeoutMs: METRICS_TIMEOUT_MS,
    }, stop);
  } catch {
    // A daemon without metrics is listed too.
  }
}

/** Sends a request on a new connection and returns the response body. */
export async function requestUnix(
  request: UnixHttpRequest,
  signal?: AbortSignal,
): Promise<string> {
  const http = createUnixHttp();
  try {
    const result = await http.request(request, defined({ signal }));
    if (result.kind === "answered") return result.body.reveal();
    throw new Error(`failed to call ${request.socketPath}: ${result.kind}`);
  } finally {
    http[Symbol.dispose]();
  }
}

function listed({ id, pid, apiSocket, instances }: ListedSimDaemon) {
  return {
    id,
    pid,
    api_socket: apiSocket,
    supervisor_path: "",
    reference: instances.length,
    mountpoint: "",
    startup_cpu_utilization: 0,
    memory_rss_kb: 0,
    read_data_kb: 0,
    instances: Object.fromEntries(
      instances.map(({ snapshotId, image, mountpoint, snapshotDir }) => [snapshotId, {
        snapshot_id: snapshotId,
        snapshot_dir: snapshotDir,
        mountpoint,
        image_id: image,
      }]),
    ),
  };
}
