import { fetchUnix } from "./unix_fetch.ts";

/** A daemon as the system API lists it. */
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

/** How the system API misbehaves; `flapping` leaves out other daemons each time. */
export type SnapshotterFault = "none" | "garbage" | "silent" | "flapping";

const METRICS_TIMEOUT_MS = 30_000;

/**
 * The snapshotter's system API. As the real one, it asks every nydusd for its metrics while it
 * answers, so that one stopped nydusd blocks the list; and the list has no stable order.
 */
export class SimSnapshotter implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.UnixAddr>;
  readonly #stop = new AbortController();
  readonly #daemons: () => readonly ListedSimDaemon[];
  readonly #backend: (id: string) => unknown;
  fault: SnapshotterFault = "none";
  /** How often someone asked for the unmasked credential of a daemon. The agent never may. */
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
      // Nothing was there.
    }
    const { signal } = this.#stop;
    const options = { path, transport: "unix", onListen: () => {}, signal } as const;
    this.#server = Deno.serve(
      options as Deno.ServeUnixOptions,
      (request) => this.#answer(request),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Not its shutdown: an answer that a stopped nydusd holds up must not hold up the end.
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
    if (this.fault === "silent") await aborted(this.#stop.signal);
    if (this.fault === "garbage") return new Response('[{"id": 7, "api_so');
    const shown = this.#daemons().filter(() => this.fault !== "flapping" || Math.random() < 0.5);
    const daemons = [...shown].sort(() => Math.random() - 0.5);
    for (const { apiSocket } of daemons) await queryMetrics(apiSocket, this.#stop.signal);
    return textPlain(daemons.map(listed));
  }
}

/** JSON that does not say so, as the real one answers. */
function textPlain(value: unknown): Response {
  const headers = { "content-type": "text/plain; charset=utf-8" };
  return new Response(JSON.stringify(value ?? {}), { headers });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

async function queryMetrics(path: string, stop: AbortSignal): Promise<void> {
  try {
    await fetchUnix(path, "/api/v1/metrics/backend", {}, METRICS_TIMEOUT_MS, stop);
  } catch {
    // A daemon without metrics is listed all the same.
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
