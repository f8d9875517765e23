import { createHash } from "node:crypto";
import { type Entry, gzip, tar } from "./archive.ts";
import { BuildError, runTool, type Target } from "./toolchain.ts";

const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";

/** The machine names of a target in Debian and in container images. */
export const ARCHITECTURES: Readonly<Record<Target, { readonly deb: string; rpm: string }>> = {
  "x86_64-unknown-linux-gnu": { deb: "amd64", rpm: "x86_64" },
  "aarch64-unknown-linux-gnu": { deb: "arm64", rpm: "aarch64" },
};

/** The file tree of the container image, and the files of this host that are in it. */
export interface ImageTree {
  readonly entries: readonly Entry[];
  readonly sources: readonly string[];
}

/**
 * Returns the file tree of the container image: the binary, the libraries that it links to, and the
 * CA certificates for plugins. There is no base image, shell or package manager.
 *
 * @throws {BuildError} when a library is not installed for the target.
 */
export async function imageTree(binary: string, target: Target): Promise<ImageTree> {
  const { rpm: machine } = ARCHITECTURES[target];
  const folder = `lib/${machine}-linux-gnu`;
  const linked = linkedLibraries(await elfHeaders(binary));
  const libraries = await Promise.all(linked.names.map((name) => findLibrary(name, machine)));
  const entries: Entry[] = [
    ...[
      "etc",
      "etc/ssl",
      "etc/ssl/certs",
      "lib",
      folder,
      "lib64",
      "proc",
      "usr",
      "usr/bin",
    ].map((path) => ({ path })),
    { path: "root", mode: 0o700 },
    { path: "tmp", mode: 0o1777 },
    { path: "etc/passwd", data: "root:x:0:0:root:/root:/nonexistent\n" },
    { path: "etc/group", data: "root:x:0:\n" },
    { path: "usr/bin/nydus-auth-agent", mode: 0o755, data: await Deno.readFile(binary) },
  ];
  for (const [i, path] of libraries.entries()) {
    const name = linked.names[i] ?? "";
    const isLoader = linked.interpreter.endsWith(`/${name}`);
    const at = isLoader ? linked.interpreter.slice(1) : `${folder}/${name}`;
    entries.push({ path: at, mode: 0o755, data: await Deno.readFile(path) });
  }
  entries.push({ path: CERTIFICATES.slice(1), data: await Deno.readFile(CERTIFICATES) });
  return { entries, sources: [...libraries, CERTIFICATES] };
}

async function elfHeaders(path: string): Promise<string> {
  const { success, stdout, stderr } = await runTool("readelf", ["-W", "-h", "-l", "-d", path]);
  if (!success) throw new BuildError(`failed to read ${path}: ${stderr.trim()}`);
  return stdout;
}

/** Returns the loader and the libraries in the output of `readelf -l -d`, the loader among them. */
export function linkedLibraries(
  readelf: string,
): { readonly interpreter: string; readonly names: readonly string[] } {
  const interpreter = /program interpreter: (\/[^\]]+)\]/.exec(readelf)?.[1];
  if (interpreter === undefined) throw new BuildError("failed to find the loader of the binary");
  const needed = [...readelf.matchAll(/\(NEEDED\)\s+Shared library: \[([^\]]+)\]/g)];
  const loader = interpreter.slice(interpreter.lastIndexOf("/") + 1);
  return {
    interpreter,
    names: [...new Set([...needed.map(([, name = ""]) => name), loader])].sort(),
  };
}

// The last folder is that of Debian's libraries for cross compilation.
async function findLibrary(name: string, machine: string): Promise<string> {
  const folders = [`/lib/${machine}-linux-gnu`, "/lib64", `/usr/${machine}-linux-gnu/lib`];
  for (const folder of folders) {
    const path = await Deno.realPath(`${folder}/${name}`).catch(() => undefined);
    if (path !== undefined && await isFor(path, machine)) return path;
  }
  throw new BuildError(
    `failed to find ${name} for ${machine} (on Debian: apt install libc6-ARCH-cross libgcc-s1-ARCH-cross)`,
  );
}

async function isFor(path: string, machine: string): Promise<boolean> {
  const name = { x86_64: "X86-64", aarch64: "AArch64" }[machine] ?? machine;
  return new RegExp(`Machine:.*${name}`).test(await elfHeaders(path));
}

/** Values of the image's labels. */
export interface ImageLabels {
  readonly version: string;
  readonly commit: string;
  /** Seconds since 1970. */
  readonly time: number;
}

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const digestOf = (data: Uint8Array) => `sha256:${createHash("sha256").update(data).digest("hex")}`;

/** Returns the entries of an OCI image layout with one image per target, tagged with the version. */
export function imageLayout(
  trees: ReadonlyMap<Target, readonly Entry[]>,
  { version, commit, time }: ImageLabels,
): Entry[] {
  const blobs = new Map<string, Uint8Array>();
  const add = (data: Uint8Array, mediaType: string) => {
    const digest = digestOf(data);
    blobs.set(digest, data);
    return { mediaType: `application/vnd.oci.image.${mediaType}`, digest, size: data.length };
  };
  const created = new Date(time * 1_000).toISOString();
  const labels = {
    "org.opencontainers.image.title": "nydus-auth-agent",
    "org.opencontainers.image.version": version,
    "org.opencontainers.image.revision": commit,
    "org.opencontainers.image.licenses": "Apache-2.0",
    "org.opencontainers.image.created": created,
  };
  const manifests = [...trees].map(([target, entries]) => {
    const platform = { os: "linux", architecture: ARCHITECTURES[target].deb };
    const layer = tar(entries, time);
    const config = {
      created,
      ...platform,
      config: {
        // The snapshotter's sockets and files belong to root; the manifest drops all capabilities.
        User: "0:0",
        Env: ["HOME=/root", "PATH=/usr/bin"],
        Entrypoint: ["/usr/bin/nydus-auth-agent"],
        Cmd: ["run"],
        Labels: labels,
      },
      rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
      history: [{ created, created_by: "deno task release" }],
    };
    const manifest = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: add(json(config), "config.v1+json"),
      layers: [add(gzip(layer), "layer.v1.tar+gzip")],
      annotations: labels,
    };
    return { ...add(json(manifest), "manifest.v1+json"), platform };
  });
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const index = add(json({ schemaVersion: 2, mediaType, manifests }), "index.v1+json");
  const annotations = { "org.opencontainers.image.ref.name": version };
  return [
    { path: "oci-layout", data: json({ imageLayoutVersion: "1.0.0" }) },
    {
      path: "index.json",
      data: json({ schemaVersion: 2, mediaType, manifests: [{ ...index, annotations }] }),
    },
    { path: "blobs" },
    { path: "blobs/sha256" },
    ...[...blobs].map(([digest, data]) => ({
      path: `blobs/sha256/${digest.slice("sha256:".length)}`,
      data,
    })),
  ];
}
