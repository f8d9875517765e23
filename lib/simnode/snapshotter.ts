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

/** How the system API misbehaves. */
export type SnapshotterFault = "none" | "garbage" | "silent";

const METRICS_TIMEOUT_MS = 30_000;

/**
 * The snapshotter's system API. As the real one, it asks every nydusd for its metrics while it
 * answers, so that one stopped nydusd blocks the list; and the list has no stable order.
 */
export class SimSnapshotter implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.UnixAddr>;
  readonly #daemons: () => readonly ListedSimDaemon[];
  fault: SnapshotterFault = "none";
  /** How often someone asked for the unmasked credential of a daemon. The agent never may. */
  backendCalls = 0;

  constructor(path: string, daemons: () => readonly ListedSimDaemon[]) {
    this.#daemons = daemons;
    try {
      Deno.removeSync(path);
    } catch {
      // Nothing was there.
    }
    const options = { path, transport: "unix", onListen: () => {} } as const;
    this.#server = Deno.serve(
      options as Deno.ServeUnixOptions,
      (request) => this.#answer(request),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // An answer that a stopped nydusd holds up must not hold up the end.
    await Promise.race([this.#server.shutdown(), new Promise((r) => setTimeout(r, 200))]);
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (/^\/api\/v1\/daemons\/[^/]+\/backend$/.test(pathname)) {
      this.backendCalls++;
      return new Response("{}");
    }
    if (pathname !== "/api/v1/daemons") return new Response("not found", { status: 404 });
    if (this.fault === "silent") await new Promise(() => {});
    if (this.fault === "garbage") return new Response('[{"id": 7, "api_so');
    const daemons = [...this.#daemons()].sort(() => Math.random() - 0.5);
    for (const { apiSocket } of daemons) await askMetrics(apiSocket);
    return new Response(JSON.stringify(daemons.map(listed)), {
      headers: { "content-type": "text/plain; charset=utf-8" },
    });
  }
}

async function askMetrics(path: string): Promise<void> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  try {
    const signal = AbortSignal.timeout(METRICS_TIMEOUT_MS);
    const response = await fetch("http://nydusd/api/v1/metrics/backend", { client, signal });
    await response.body?.cancel();
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
