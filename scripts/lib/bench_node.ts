import { join } from "@std/path";

/** Daemons with an old credential, and a Docker configuration with a new one. */
export interface BenchNode extends AsyncDisposable {
  /** Command line options of the agent for this node. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Resolves when the agent has notified systemd that the first reconcile has finished. */
  ready(): Promise<void>;
  /** Returns the number of daemons with the new credential. */
  fresh(): number;
}

/** An address without a listener that needs no DNS lookup. */
const HOST = "127.0.0.1:1";
const OLD = btoa("user:old");
const NEW = btoa("user:new");

/** Serves `count` daemons, one socket each, below a temporary folder. */
export async function serveBenchNode(count: number): Promise<BenchNode> {
  const folder = await Deno.makeTempDir({ prefix: "nydus-auth-agent-bench-" });
  const root = join(folder, "root");
  const currentAuth = new Map<string, string>();
  const servers: Deno.HttpServer<Deno.UnixAddr>[] = [];
  for (let i = 0; i < count; i++) servers.push(await serveDaemon(root, `daemon-${i}`, currentAuth));
  await Deno.mkdir(join(folder, "docker"));
  const auths = { [HOST]: { auth: NEW } };
  await Deno.writeTextFile(join(folder, "docker/config.json"), JSON.stringify({ auths }));
  const notified = Deno.listenDatagram({ transport: "unixpacket", path: join(folder, "notify") });
  const off = ["--snapshotter-config", "off", "--system-address", "off", "--address", "off"];
  return {
    args: [...off, "--snapshotter-root", root],
    env: { DOCKER_CONFIG: join(folder, "docker"), NOTIFY_SOCKET: join(folder, "notify") },
    async ready() {
      while (true) {
        const [bytes] = await notified.receive();
        if (new TextDecoder().decode(bytes).split("\n").includes("READY=1")) return;
      }
    },
    fresh: () => [...currentAuth.values()].filter((auth) => auth === NEW).length,
    async [Symbol.asyncDispose]() {
      notified.close();
      await Promise.all(servers.map((server) => server.shutdown()));
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function serveDaemon(
  root: string,
  id: string,
  currentAuth: Map<string, string>,
): Promise<Deno.HttpServer<Deno.UnixAddr>> {
  currentAuth.set(id, OLD);
  const registry = { scheme: "https", host: HOST, repo: `app/${id}` };
  const config = { device: { backend: { type: "registry", config: { ...registry, auth: OLD } } } };
  await Deno.mkdir(join(root, "config", id), { recursive: true });
  await Deno.writeTextFile(join(root, "config", id, "config.json"), JSON.stringify(config));
  await Deno.mkdir(join(root, "socket", id), { recursive: true });
  const path = join(root, "socket", id, "api.sock");
  return Deno.serve({ path, onListen() {} }, async (request) => {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/api/v1/daemon") return Response.json(daemonInfo(registry));
    if (pathname !== "/api/v1/config") {
      return Response.json({ read_count: 1, read_errors: 0, backend_type: "registry" });
    }
    if (request.method === "PUT") {
      currentAuth.set(id, String((await request.json()).registry_auth));
      return new Response(null, { status: 204 });
    }
    const name = searchParams.has("id") ? "registry_auth" : "/:registry_auth";
    return Response.json({ [name]: currentAuth.get(id) });
  });
}

function daemonInfo(registry: { readonly host: string; readonly repo: string }): unknown {
  const config = { id: "/", backend: { type: "registry", registry: { ...registry, auth: null } } };
  const mounted = { backend_type: "registry", mountpoint: "/", mounted_time: "2026-01-01", config };
  return {
    id: null,
    version: {
      package_ver: "2.4.4",
      git_commit: "",
      build_time: "",
      profile: "release",
      rustc: "",
    },
    state: "RUNNING",
    backend_collection: { "/": mounted },
  };
}
