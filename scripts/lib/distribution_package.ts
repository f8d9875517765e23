import { join } from "@std/path";
import { installedText, installedTexts } from "../../lib/assets/mod.ts";
import { gzip } from "./archive.ts";
import { ARCHITECTURES } from "./image.ts";
import { BuildError, runTool, type Target } from "./toolchain.ts";

const SCRIPTS = new URL("../package/", import.meta.url).pathname;
const SHARE = "/usr/share";
const BINARY = "/usr/bin/nydus-auth-agent";

const MAINTAINER = "nydus-auth-agent <nydus-auth-agent@example.org>";

const COPYRIGHT = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: nydus-auth-agent

Files: *
Copyright: the authors of nydus-auth-agent
License: Apache-2.0
 The text is in /usr/share/common-licenses/Apache-2.0. The bill of materials beside this file lists
 the libraries in the program with their licenses.
`;

const LINTIAN_OVERRIDES = `# Stripping removes the program, which follows the runtime in the file.
nydus-auth-agent: unstripped-binary-or-object [usr/bin/nydus-auth-agent]
# A library of the runtime, which Debian does not package.
nydus-auth-agent: embedded-library lcms2 [usr/bin/nydus-auth-agent]
`;

/** Input of {@linkcode buildPackages}. */
export interface PackageInput {
  readonly version: string;
  readonly target: Target;
  readonly binary: string;
  /** Texts of `show`. */
  readonly textOf: (name: string) => string;
  readonly licence: string;
  /** Path of the bill of materials. */
  readonly sbom: string;
  /** ISO 8601. */
  readonly time: string;
  /** Folder of the packages. */
  readonly output: string;
}

/**
 * Builds the `.deb` and the `.rpm` with nfpm; returns their paths.
 *
 * @throws {BuildError} with the error output of nfpm.
 */
export async function buildPackages(input: PackageInput): Promise<string[]> {
  const work = await Deno.makeTempDir({ prefix: "nydus-auth-agent-package-" });
  try {
    const { deb, rpm } = ARCHITECTURES[input.target];
    const config = join(work, "nfpm.json");
    await Deno.writeTextFile(config, JSON.stringify(await configuration(input, work)));
    const paths: string[] = [];
    for (
      const [packager, name] of [
        ["deb", `nydus-auth-agent_${input.version}-1_${deb}.deb`],
        ["rpm", `nydus-auth-agent-${input.version}-1.${rpm}.rpm`],
      ] as const
    ) {
      const path = join(input.output, name);
      const args = ["package", "--config", config, "--packager", packager, "--target", path];
      const { success, stdout, stderr } = await runTool(Deno.env.get("NFPM") ?? "nfpm", args);
      if (!success) throw new BuildError(`failed to build ${name}: ${stderr || stdout}`);
      paths.push(path);
    }
    return paths;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function configuration(input: PackageInput, work: string) {
  const { textOf, time } = input;
  const contents: unknown[] = [];
  const put = async (dst: string, data: string | Uint8Array, packager?: "deb" | "rpm") => {
    const src = join(work, String(contents.length));
    await Deno.writeFile(src, typeof data === "string" ? new TextEncoder().encode(data) : data);
    contents.push({ src, dst, packager, file_info: { mode: 0o644, mtime: time } });
  };
  const bytes = (text: string) => new TextEncoder().encode(text);
  contents.push({ src: input.binary, dst: BINARY, file_info: { mode: 0o755, mtime: time } });
  contents.push({
    src: "nydus-auth-agent",
    dst: "/usr/bin/docker-credential-nydus-auth",
    type: "symlink",
    file_info: { mtime: time },
  });
  const folders = { units: "/usr/lib/systemd/system", tmpfiles: "/usr/lib/tmpfiles.d" };
  for (const { name, path } of installedTexts({ ...folders, share: SHARE })) {
    const text = installedText(textOf(name), BINARY);
    if (path.includes("/man/")) await put(`${path}.gz`, gzip(bytes(text), 9));
    else await put(path, text);
  }
  await put(
    "/usr/lib/systemd/system-preset/90-nydus-auth-agent.preset",
    "# A preset with a lower number enables the service.\ndisable nydus-auth-agent.service\n",
  );
  const own = "nydus-auth-agent-own-user.service";
  await put(`${SHARE}/nydus-auth-agent/${own}`, installedText(textOf(own), BINARY));
  for (const name of ["config.toml", "credential-provider-config.yaml"]) {
    await put(`${SHARE}/nydus-auth-agent/${name}`, textOf(name));
  }
  const doc = `${SHARE}/doc/nydus-auth-agent`;
  await put(`${doc}/nydus-auth-agent.cdx.json`, await Deno.readFile(input.sbom));
  await put(`${SHARE}/licenses/nydus-auth-agent/LICENSE`, input.licence, "rpm");
  await put(`${doc}/copyright`, COPYRIGHT, "deb");
  await put(`${doc}/changelog.Debian.gz`, gzip(bytes(changelog(input)), 9), "deb");
  await put(`${SHARE}/lintian/overrides/nydus-auth-agent`, LINTIAN_OVERRIDES, "deb");
  // rpm removes only folders that a package lists.
  for (const folder of ["", "doc/", "licenses/"]) {
    const packager = folder === "licenses/" ? "rpm" : undefined;
    contents.push({ dst: `${SHARE}/${folder}nydus-auth-agent`, type: "dir", packager });
  }
  const script = (name: string) => join(SCRIPTS, `${name}.sh`);
  return {
    name: "nydus-auth-agent",
    arch: ARCHITECTURES[input.target].deb,
    version: input.version,
    release: "1",
    section: "admin",
    priority: "optional",
    maintainer: MAINTAINER,
    description: "renews the registry credentials of running nydus daemons\n" +
      "Lazily pulled container images are read from their registry for as long as a\n" +
      "container runs. The agent renews their credentials before they expire.",
    license: "Apache-2.0",
    mtime: time,
    contents,
    scripts: {
      postinstall: script("postinstall"),
      preremove: script("preremove"),
      postremove: script("postremove"),
    },
    overrides: {
      deb: { depends: ["libc6 (>= 2.27)", "libgcc-s1"] },
      rpm: { depends: ["glibc >= 2.27", "libgcc"] },
    },
    rpm: { buildhost: "localhost", summary: "Renews the registry credentials of nydus daemons" },
  };
}

function changelog({ version, time }: PackageInput): string {
  const date = new Date(time).toUTCString().replace("GMT", "+0000");
  return `nydus-auth-agent (${version}-1) stable; urgency=medium

  * docs/changes.md in the sources lists the changes.

 -- ${MAINTAINER}  ${date}
`;
}
