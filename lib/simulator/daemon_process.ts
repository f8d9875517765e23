/**
 * The process of one simulated nydusd. Also a main module, for tests without the agent's CLI.
 *
 * @module
 */
import { type Fault, FaultSwitch, serveConnection } from "./nydusd_http.ts";
import { SimNydusd, type SimNydusdSpec } from "./sim_nydusd.ts";
import type { SimMountSpec } from "./sim_read.ts";

/**
 * Runs one simulated nydusd: its API on one socket, and controls for tests on another. The process
 * exits with its parent, which closes the standard input.
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
 * Serves the API of a simulated nydusd in this process. For tests with too many daemons for one
 * process each.
 */
export function serveSimNydusd(path: string, { handle }: Pick<SimNydusd, "handle">): Disposable {
  return serveApi(path, { handle }, new FaultSwitch());
}

/** Serves all connections, one request at a time like the single API thread of nydusd. */
function serveApi(
  path: string,
  nydusd: Pick<SimNydusd, "handle">,
  faults: FaultSwitch,
): Disposable {
  const listener = listen(path);
  let last: Promise<unknown> = Promise.resolve();
  const enqueue = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work, work);
    last = mine.catch(() => {});
    return mine;
  };
  const served = { handle: nydusd.handle.bind(nydusd), faults, enqueue };
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

/** Removes the socket file of a killed process. */
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

if (import.meta.main) Deno.exit(await runSimDaemon(Deno.args.slice(1)));
