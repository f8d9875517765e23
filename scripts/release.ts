// deno-lint-ignore-file no-console -- a build script prints its results
/**
 * `deno task release`: builds everything that a release publishes, for both architectures.
 *
 * @module
 */
import { basename, join } from "@std/path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { BuildInfo } from "../lib/assets/mod.ts";
import { commands } from "../lib/cli/program.ts";
import { texts } from "../lib/cli/show.ts";
import type { Context } from "../lib/platform/mod.ts";
import { type Entry, gzip, tar } from "./lib/archive.ts";
import { buildBinary, describeBinary, runtimeFile, tryBinary } from "./lib/build.ts";
import { buildInfo, type BuildTools, commitTime, denoVersion, sha256 } from "./lib/compile.ts";
import { buildPackages } from "./lib/distribution_package.ts";
import { ARCHITECTURES, imageLayout, imageTree } from "./lib/image.ts";
import { type Digest, provenance } from "./lib/provenance.ts";
import { BuildError, runScript, type Target, TARGETS } from "./lib/toolchain.ts";

const USAGE = `Usage: deno task release [--output FOLDER]

Writes binaries, archives, .deb, .rpm, container image, chart, checksums, bills of materials and a
provenance statement (default: into dist).

Environment:
  DENO                                     the deno that compiles (default: the current one)
  DENORT_BIN_X86_64, DENORT_BIN_AARCH64    a denort of the same version (default: download it)
  NFPM                                     nfpm 2.43, which builds the packages (default: in PATH)`;

const NAME = "nydus-auth-agent";
const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Texts of `show` by name. */
const TEXTS = (() => {
  const host = { calledAs: NAME, out: () => {}, err: () => {} };
  const known = texts(commands({ host } as unknown as Context, () => {}));
  return new Map([...known].map(([name, { text }]) => [name, text]));
})();

/** What all artifacts of a release have in common. */
interface Release {
  readonly output: string;
  readonly info: BuildInfo;
  /** Time of the commit, in seconds since 1970. */
  readonly time: number;
  readonly licence: string;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: Deno.args,
    options: { output: { type: "string" }, help: { type: "boolean", default: false } },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const output = values.output ?? join(ROOT, "dist");
  await Deno.mkdir(output, { recursive: true });
  const deno = Deno.env.get("DENO") ?? Deno.execPath();
  const host = await denoVersion(deno);
  const tools = { root: ROOT, deno };
  const info = await buildInfo(tools, host.version);
  const time = Math.floor(Date.parse(await commitTime(tools) ?? "1970-01-01T00:00:00Z") / 1_000);
  const licence = await Deno.readTextFile(join(ROOT, "LICENSE"));
  const release = { output, info, time, licence };

  const artifacts: string[] = [];
  const inputs = new Map<string, string>([["deno.lock", join(ROOT, "deno.lock")]]);
  const trees = new Map<Target, readonly Entry[]>();
  for (const target of Object.keys(TARGETS) as Target[]) {
    const { rpm: machine } = ARCHITECTURES[target];
    const denort = Deno.env.get(`DENORT_BIN_${machine.toUpperCase()}`);
    const targetTools: BuildTools = { ...tools, ...(denort !== undefined && { denort }) };
    const binary = await buildBinary(targetTools, info, target, output);
    const runtime = await runtimeFile(targetTools, info, target);
    if (runtime !== undefined) inputs.set(`denort ${machine}`, runtime);
    if (target === host.target) await tryBinary(binary);
    const tree = await imageTree(binary, target);
    trees.set(target, tree.entries);
    for (const path of tree.sources) inputs.set(`${basename(path)} ${machine}`, path);
    const [checksum, sbom] = await describeBinary(targetTools, info, target, binary);
    artifacts.push(
      binary,
      checksum,
      sbom,
      await archive(release, target, binary),
      ...await buildPackages({
        version: info.version,
        target,
        binary,
        textOf,
        licence,
        sbom,
        time: new Date(time * 1_000).toISOString(),
        output,
      }),
    );
  }
  artifacts.push(await image(release, trees), ...await chart(release));
  await describe(release, artifacts, inputs);
  return 0;
}

function textOf(name: string): string {
  const text = TEXTS.get(name);
  if (text === undefined) throw new BuildError(`failed to find the text ${name}`);
  return text;
}

async function archive(release: Release, target: Target, binary: string): Promise<string> {
  const folder = `${NAME}-${release.info.version}`;
  const entries: Entry[] = [
    { path: folder },
    { path: `${folder}/${NAME}`, mode: 0o755, data: await Deno.readFile(binary) },
    { path: `${folder}/LICENSE`, data: release.licence },
    { path: `${folder}/README.md`, data: await Deno.readTextFile(join(ROOT, "README.md")) },
    ...[...TEXTS].map(([name, data]) => ({ path: `${folder}/${name}`, data })),
  ];
  return await write(
    release,
    `${folder}-linux-${ARCHITECTURES[target].rpm}.tar.gz`,
    gzip(tar(entries, release.time)),
  );
}

async function image(
  release: Release,
  trees: ReadonlyMap<Target, readonly Entry[]>,
): Promise<string> {
  const { version, commit } = release.info;
  const layout = imageLayout(trees, { version, commit, time: release.time });
  return await write(release, `${NAME}-${version}-image.tar`, tar(layout, release.time));
}

/** Packages the Helm chart, if there is one. */
async function chart(release: Release): Promise<string[]> {
  const source = join(ROOT, "lib/assets/chart");
  const entries = await folderEntries(source, NAME).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  });
  if (entries.length === 0) return [];
  const data = gzip(tar(entries, release.time));
  return [await write(release, `${NAME}-chart-${release.info.version}.tgz`, data)];
}

async function folderEntries(folder: string, path: string): Promise<Entry[]> {
  const children = await Array.fromAsync(Deno.readDir(folder));
  const nested = await Promise.all(
    children.map(({ name }) => name).sort().map(async (name): Promise<Entry[]> => {
      const at = join(folder, name);
      if ((await Deno.stat(at)).isDirectory) return await folderEntries(at, `${path}/${name}`);
      return [{ path: `${path}/${name}`, data: await Deno.readFile(at) }];
    }),
  );
  return nested.flat();
}

async function describe(
  release: Release,
  artifacts: readonly string[],
  inputs: ReadonlyMap<string, string>,
): Promise<void> {
  const digests = (paths: Iterable<readonly [name: string, path: string]>): Promise<Digest[]> =>
    Promise.all([...paths].map(async ([name, path]) => ({ name, sha256: await sha256(path) })));
  const subjects = await digests(artifacts.map((path) => [basename(path), path] as const));
  const statement = provenance(subjects, { ...release.info, inputs: await digests(inputs) });
  const name = `${NAME}-${release.info.version}.provenance.json`;
  const path = await write(release, name, JSON.stringify(statement, null, 2) + "\n");
  const all = [...subjects, ...await digests([[name, path]])];
  const lines = all.map(({ name, sha256 }) => `${sha256}  ${name}\n`).sort();
  await write(release, "SHA256SUMS", lines.join(""));
  console.log(lines.join("").trimEnd());
}

async function write(
  { output }: Release,
  name: string,
  data: Uint8Array | string,
): Promise<string> {
  const path = join(output, name);
  await Deno.writeFile(path, typeof data === "string" ? new TextEncoder().encode(data) : data);
  return path;
}

if (import.meta.main) {
  await runScript(main);
}
