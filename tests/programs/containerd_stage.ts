import { fail } from "node:assert/strict";
import { join } from "node:path";
import { freePort } from "../../lib/simulator/mod.ts";
import { pause } from "../e2e/stage.ts";

/** Folder whose node_modules contain grpc-js and its proto loader; .ci/run creates it. */
export const GRPC_MODULES = Deno.env.get("NYDUS_AUTH_AGENT_GRPC_MODULES");
export const USER = "robot";
export const PASSWORD = "first:password";

const HERE = new URL("./", import.meta.url).pathname;

/** A system program that serves until it is disposed of. */
class Service implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #logPath: string;

  private constructor(child: Deno.ChildProcess, logPath: string) {
    this.#child = child;
    this.#logPath = logPath;
  }

  static async start(
    words: readonly string[],
    { logPath, ready, env = {} }: {
      readonly logPath: string;
      readonly ready: () => Promise<boolean>;
      readonly env?: Readonly<Record<string, string>>;
    },
  ): Promise<Service> {
    const command = `exec "$@" >"${logPath}" 2>&1`;
    const child = new Deno.Command("sh", {
      args: ["-c", command, "sh", ...words],
      stdin: "null",
      env,
    }).spawn();
    const service = new Service(child, logPath);
    for (const untilMs = Date.now() + 30_000; !await ready().catch(() => false);) {
      if (Date.now() < untilMs) {
        await pause(50);
        continue;
      }
      await service[Symbol.asyncDispose]();
      fail(`${words[0]} failed to start:\n${await Deno.readTextFile(logPath)}`);
    }
    return service;
  }

  log(): Promise<string> {
    return Deno.readTextFile(this.#logPath);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.status;
  }
}

/** Starts a docker-registry on loopback that requires {@linkcode USER} and {@linkcode PASSWORD}. */
export async function startRegistry(
  dir: string,
): Promise<{ readonly host: string; readonly service: Service }> {
  const { code, stdout } = await new Deno.Command("htpasswd", {
    args: ["-Bbn", USER, PASSWORD],
  }).output();
  if (code !== 0) fail("htpasswd failed");
  await Deno.writeFile(join(dir, "htpasswd"), stdout);
  const host = `127.0.0.1:${freePort()}`;
  const config = join(dir, "registry.json");
  await Deno.writeTextFile(
    config,
    JSON.stringify({
      version: "0.1",
      log: { level: "warn" },
      storage: { filesystem: { rootdirectory: join(dir, "registry") } },
      http: { addr: host, secret: "unused" },
      auth: { htpasswd: { realm: "test", path: join(dir, "htpasswd") } },
    }),
  );
  const service = await Service.start(["docker-registry", "serve", config], {
    logPath: join(dir, "registry.log"),
    ready: async () => {
      const response = await fetch(`http://${host}/v2/`);
      await response.body?.cancel();
      return response.status === 401;
    },
  });
  return { host, service };
}

/** Pushes an image with one small layer; its configuration has a label of `labelBytes`. */
export async function pushImage(
  host: string,
  name: string,
  { tag = "v1", labelBytes = 10 }: { readonly tag?: string; readonly labelBytes?: number } = {},
): Promise<string> {
  const layer = emptyTar(name);
  const config = new TextEncoder().encode(JSON.stringify({
    architecture: Deno.build.arch === "x86_64" ? "amd64" : "arm64",
    os: "linux",
    config: { Labels: { filler: "f".repeat(labelBytes) } },
    rootfs: { type: "layers", diff_ids: [await digestOf(layer)] },
  }));
  const oci = "application/vnd.oci.image";
  const upload = async (bytes: Uint8Array<ArrayBuffer>, mediaType: string) => {
    const digest = await digestOf(bytes);
    const started = await call(host, "POST", `/v2/${name}/blobs/uploads/`);
    const location = new URL(started.headers.get("location") ?? "", `http://${host}`);
    location.searchParams.set("digest", digest);
    await call(host, "PUT", `${location.pathname}${location.search}`, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: `${oci}.manifest.v1+json`,
    config: await upload(config, `${oci}.config.v1+json`),
    layers: [await upload(layer, `${oci}.layer.v1.tar`)],
  });
  const body = new TextEncoder().encode(manifest);
  await call(host, "PUT", `/v2/${name}/manifests/${tag}`, body, `${oci}.manifest.v1+json`);
  return `${host}/${name}:${tag}`;
}

async function call(
  host: string,
  method: string,
  path: string,
  body?: Uint8Array<ArrayBuffer>,
  type = "application/octet-stream",
): Promise<Response> {
  const response = await fetch(`http://${host}${path}`, {
    method,
    headers: { authorization: `Basic ${btoa(`${USER}:${PASSWORD}`)}`, "content-type": type },
    ...(body && { body }),
  });
  const text = await response.text();
  if (!response.ok) fail(`${method} ${path}: ${response.status} ${text}`);
  return response;
}

async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `sha256:${hash.toHex()}`;
}

/** Returns a tar of one empty folder (POSIX ustar), so that layers differ by name. */
function emptyTar(name: string): Uint8Array<ArrayBuffer> {
  const tar = new Uint8Array(512 + 1_024);
  const put = (at: number, text: string) => tar.set(new TextEncoder().encode(text), at);
  put(0, `${name.replaceAll("/", "-")}/`);
  put(100, "0000755\0" + "0000000\0".repeat(2) + "00000000000\0".repeat(2));
  put(148, " ".repeat(8));
  put(156, "5");
  put(257, "ustar\x0000");
  const sum = tar.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return tar;
}

/** Starts a separate containerd with the CRI plugin, whose state is below `dir`. */
export async function startContainerd(
  dir: string,
): Promise<{ readonly socket: string; readonly service: Service }> {
  const socket = join(dir, "containerd.sock");
  const config = join(dir, "containerd.toml");
  const unwanted = ["aufs", "btrfs", "devmapper", "zfs"]
    .map((name) => `"io.containerd.snapshotter.v1.${name}"`);
  const cri = '[plugins."io.containerd.grpc.v1.cri"';
  await Deno.writeTextFile(
    config,
    [
      "version = 2",
      `root = "${dir}/root"`,
      `state = "${dir}/state"`,
      `disabled_plugins = [${unwanted}]`,
      "[grpc]",
      `address = "${socket}"`,
      "max_recv_message_size = 67108864",
      "max_send_message_size = 67108864",
      "[ttrpc]",
      `address = "${dir}/containerd-ttrpc.sock"`,
      `${cri}]`,
      'stream_server_address = "127.0.0.1"',
      "disable_apparmor = true",
      `${cri}.containerd]`,
      'snapshotter = "native"',
      "",
    ].join("\n"),
  );
  const service = await Service.start(["containerd", "--config", config], {
    logPath: join(dir, "containerd.log"),
    ready: async () => {
      (await Deno.connect({ transport: "unix", path: socket })).close();
      return true;
    },
  });
  return { socket, service };
}

/** Result of a call: a response, or a gRPC status. */
export interface Called {
  readonly answer?: Readonly<Record<string, unknown>>;
  readonly code?: number;
  readonly details?: string;
}

/** A call, executed `times` in parallel. */
export interface CriRequest {
  readonly method: string;
  readonly request: Readonly<Record<string, unknown>>;
  readonly times?: number;
  /** Adds an annotation of this size to the request's image. */
  readonly padBytes?: number;
  /** Uses a new connection. */
  readonly fresh?: boolean;
}

/** Result of an endurance run. */
export interface Endured {
  readonly calls: number;
  readonly failed: number;
  /** Most consecutive failures of one worker. */
  readonly inRow: number;
  readonly wrong: number;
  readonly codes: Readonly<Record<string, number>>;
}

/** The gRPC client; it runs on Node. */
export class CriClient implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #waiting = new Map<number, (value: unknown) => void>();
  readonly #reading: Promise<void>;
  #next = 1;

  constructor(socket: string) {
    const args = [
      join(HERE, "cri_client.mjs"),
      GRPC_MODULES ?? "",
      join(HERE, "cri.proto"),
      socket,
    ];
    this.#child = new Deno.Command("node", { args, stdin: "piped", stdout: "piped" }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reading = this.#read();
  }

  async execute(request: CriRequest): Promise<readonly Called[]> {
    return await this.#task({ task: "execute", ...request }) as readonly Called[];
  }

  /** Returns the response of one call that must succeed. */
  async answer(request: CriRequest): Promise<Readonly<Record<string, unknown>>> {
    const [called] = await this.execute(request);
    return called?.answer ?? fail(`${request.method}: ${called?.code} ${called?.details}`);
  }

  async endure(task: {
    readonly requests: readonly (CriRequest & { readonly expected: string })[];
    readonly calls: number;
    readonly workers: number;
    readonly everyMs: number;
    /** Number of calls before a worker reconnects. */
    readonly callsEach: number;
    readonly afterFailureMs: number;
  }): Promise<Endured> {
    return await this.#task({ task: "endure", ...task }) as Endured;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#reading;
  }

  async #task(task: object): Promise<unknown> {
    const id = this.#next++;
    const result = new Promise((resolve) => this.#waiting.set(id, resolve));
    await this.#writer.write(new TextEncoder().encode(`${JSON.stringify({ id, ...task })}\n`));
    return await result;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const { id, value } = JSON.parse(line);
        this.#waiting.get(id)?.(value);
        this.#waiting.delete(id);
      }
    }
    for (const resolve of this.#waiting.values()) resolve([{ code: -1, details: "no client" }]);
  }
}
