import { type Fault, serveConnection } from "./raw_http.ts";
import { type SimMountSpec, SimNydusd, type SimNydusdSpec } from "./sim_nydusd.ts";

/**
 * The process of one simulated nydusd: its API on one socket, and on another the switches that a
 * real one does not have. It ends with its parent, whose end closes the standard input.
 *
 * @param args The path of a file with its {@linkcode SimNydusdSpec}.
 */
export async function runSimDaemon(args: readonly string[]): Promise<number> {
  const [specPath] = args;
  if (specPath === undefined) return 2;
  const spec: SimNydusdSpec = JSON.parse(Deno.readTextFileSync(specPath));
  const nydusd = new SimNydusd(spec, Deno.readTextFileSync);
  if (spec.version !== "2.4.0") setInterval(() => nydusd.poll(), spec.pollMs);
  let fault: Fault = "none";
  serveApi(spec.apiSocket, nydusd, () => fault);
  serveControl(spec.controlSocket, nydusd, (next) => fault = next);
  console.log("ready"); // deno-lint-ignore no-console
  for await (const _ of Deno.stdin.readable);
  Deno.exit(0);
}

/** All connections are served, one request after another, as by the one thread of the real one. */
function serveApi(path: string, nydusd: SimNydusd, fault: () => Fault): void {
  const listener = listen(path);
  let last: Promise<unknown> = Promise.resolve();
  const turn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work, work);
    last = mine.catch(() => {});
    return mine;
  };
  void (async () => {
    for await (const connection of listener) {
      void serveConnection(connection, (request) => nydusd.handle(request), fault, turn);
    }
  })();
}

function listen(path: string): Deno.UnixListener {
  try {
    Deno.removeSync(path); // what a killed predecessor left
  } catch {
    // Nothing was there.
  }
  return Deno.listen({ transport: "unix", path });
}

function serveControl(path: string, nydusd: SimNydusd, setFault: (fault: Fault) => void): void {
  listen(path).close();
  const handler = async (request: Request): Promise<Response> => {
    switch (new URL(request.url).pathname) {
      case "/read":
        return Response.json(await nydusd.readAll());
      case "/fault":
        setFault(await request.json());
        return new Response();
      case "/mount": {
        const mount: SimMountSpec = await request.json();
        nydusd.mount(mount, Deno.readTextFileSync(mount.configPath));
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
