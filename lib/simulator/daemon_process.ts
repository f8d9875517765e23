import { type Fault, FaultSwitch, serveConnection } from "./raw_http.ts";
import { SimNydusd, type SimNydusdSpec } from "./sim_nydusd.ts";
import type { SimMountSpec } from "./sim_read.ts";

/**
 * The process of one simulated nydusd: its API on one socket, and on another the switches that a
 * real one does not have. It ends with its parent, whose end closes the standard input.
 *
 * @param args The path of a file with its {@linkcode SimNydusdSpec}.
 */
export async function runSimDaemon(args: readonly string[]): Promise<number> {
  const [specPath] = args;
  if (specPath === undefined) return 2;
  const spec: SimNydusdSpec = JSON.parse(await Deno.readTextFile(specPath));
  const nydusd = new SimNydusd(spec, (put) => {
    const line = `${JSON.stringify(put)}\n`;
    if (spec.putsPath === undefined) return;
    Deno.writeTextFileSync(spec.putsPath, line, { append: true, mode: 0o600 });
  });
  for (const mount of spec.mounts) nydusd.mount(mount, await Deno.readTextFile(mount.configPath));
  if (nydusd.polls) setInterval(() => nydusd.poll(), spec.pollMs);
  const faults = new FaultSwitch();
  serveApi(spec.apiSocket, nydusd, faults);
  serveControl(spec.controlSocket, nydusd, faults);
  await Deno.stdout.write(new TextEncoder().encode("ready\n"));
  for await (const _ of Deno.stdin.readable);
  Deno.exit(0);
}

/**
 * A nydusd's API on a socket, in this process: for a hundred of them, which are too many processes.
 *
 * @param handle What answers; by default the nydusd itself.
 */
export function serveSimNydusd(path: string, { handle }: Pick<SimNydusd, "handle">): Disposable {
  return serveApi(path, { handle }, new FaultSwitch());
}

/** All connections are served, one request after another, as by the one thread of the real one. */
function serveApi(
  path: string,
  nydusd: Pick<SimNydusd, "handle">,
  faults: FaultSwitch,
): Disposable {
  const listener = listen(path);
  let last: Promise<unknown> = Promise.resolve();
  const turn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work, work);
    last = mine.catch(() => {});
    return mine;
  };
  const served = { handle: nydusd.handle.bind(nydusd), faults, turn };
  const open = new Set<Deno.Conn>();
  void (async () => {
    for await (const connection of listener) {
      open.add(connection);
      void serveConnection(connection, served).finally(() => open.delete(connection));
    }
  })();
  return {
    [Symbol.dispose]() {
      listener.close();
      for (const connection of open) connection.close();
    },
  };
}

function listen(path: string): Deno.UnixListener {
  removeStale(path);
  return Deno.listen({ transport: "unix", path });
}

/** Removes the socket file that a killed predecessor left. */
function removeStale(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function serveControl(path: string, nydusd: SimNydusd, faults: FaultSwitch): void {
  removeStale(path);
  const handler = async (request: Request): Promise<Response> => {
    switch (new URL(request.url).pathname) {
      case "/read":
        return Response.json(await nydusd.readAll());
      case "/fault": {
        const fault: Fault = await request.json();
        faults.set(fault);
        return new Response();
      }
      case "/mount": {
        const mount: SimMountSpec = await request.json();
        nydusd.mount(mount, await Deno.readTextFile(mount.configPath));
        return new Response();
      }
      case "/unmount":
        nydusd.unmount(await request.json());
        return new Response();
      default:
        return new Response(null, { status: 404 });
    }
  };
  Deno.serve({ path, transport: "unix", onListen: () => {} } as Deno.ServeUnixOptions, handler);
}
