import { deepEqual, equal, match, throws } from "node:assert/strict";
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { installedTexts } from "../../../lib/assets/mod.ts";
import { commands } from "../../../lib/cli/program.ts";
import { texts } from "../../../lib/cli/show.ts";
import type { Context } from "../../../lib/platform/mod.ts";
import { type Entry, gzip, tar } from "../../../scripts/lib/archive.ts";
import { imageLayout, linkedLibraries } from "../../../scripts/lib/image.ts";
import { provenance } from "../../../scripts/lib/provenance.ts";

const ENTRIES: readonly Entry[] = [
  { path: "folder", mode: 0o1777 },
  { path: "folder/program", mode: 0o755, data: "x".repeat(600) },
  { path: "folder/text", data: new TextEncoder().encode("text") },
  { path: "folder/link", linkTarget: "program" },
];

async function listing(archive: Uint8Array): Promise<string> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, archive);
    const args = ["--utc", "--numeric-owner", "-tvf", path];
    const { stdout } = await new Deno.Command("tar", { args, env: { LC_ALL: "C" } }).output();
    return new TextDecoder().decode(stdout).replaceAll(/ +/g, " ");
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("tar: writes files, folders and links that tar can read, with one time and owner", async () => {
  equal(
    await listing(tar(ENTRIES, 1_000_000_000)),
    `drwxrwxrwt 0/0 0 2001-09-09 01:46 folder/
-rwxr-xr-x 0/0 600 2001-09-09 01:46 folder/program
-rw-r--r-- 0/0 4 2001-09-09 01:46 folder/text
lrwxrwxrwx 0/0 0 2001-09-09 01:46 folder/link -> program
`,
  );
  throws(() => tar([{ path: "x".repeat(101) }], 0), /path too long/);
});

Deno.test("gzip: writes a header without time and operating system", () => {
  const bytes = gzip(new TextEncoder().encode("text"));
  deepEqual([...bytes.slice(4, 8), bytes[9]], [0, 0, 0, 0, 255]);
  equal(gunzipSync(bytes).toString(), "text");
});

Deno.test("linkedLibraries: returns the loader and the libraries, each once", () => {
  const text = "      [Requesting program interpreter: /lib64/ld-linux-x86-64.so.2]\n" +
    " 0x01 (NEEDED)             Shared library: [libm.so.6]\n" +
    " 0x01 (NEEDED)             Shared library: [libc.so.6]\n" +
    " 0x01 (NEEDED)             Shared library: [ld-linux-x86-64.so.2]\n";
  deepEqual(linkedLibraries(text), {
    interpreter: "/lib64/ld-linux-x86-64.so.2",
    names: ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"],
  });
  throws(() => linkedLibraries(""), /failed to find the loader/);
});

Deno.test("imageLayout: every descriptor has the digest and size of its blob", () => {
  const trees = new Map(
    [
      ["x86_64-unknown-linux-gnu", ENTRIES],
      ["aarch64-unknown-linux-gnu", ENTRIES],
    ] as const,
  );
  const layout = imageLayout(trees, { version: "1.2.3", commit: "abc", time: 0 });
  const blobs = new Map(layout.map(({ path, data }) => [path, data as Uint8Array]));
  const read = ({ digest, size }: { digest: string; size: number }): Uint8Array => {
    const data = blobs.get(`blobs/${digest.replace(":", "/")}`) ?? new Uint8Array();
    equal(`sha256:${createHash("sha256").update(data).digest("hex")}`, digest);
    equal(data.length, size);
    return data;
  };
  const parse = (data: Uint8Array | undefined) => JSON.parse(new TextDecoder().decode(data));
  const [tagged] = parse(blobs.get("index.json")).manifests;
  equal(tagged.annotations["org.opencontainers.image.ref.name"], "1.2.3");
  const { manifests } = parse(read(tagged));
  deepEqual(
    manifests.map(({ platform }: { platform: { architecture: string } }) => platform.architecture),
    ["amd64", "arm64"],
  );
  for (const descriptor of manifests) {
    const manifest = parse(read(descriptor));
    const { config, rootfs } = parse(read(manifest.config));
    const layer = gunzipSync(read(manifest.layers[0]));
    deepEqual(rootfs.diff_ids, [`sha256:${createHash("sha256").update(layer).digest("hex")}`]);
    equal(config.User, "0:0");
    deepEqual(config.Entrypoint, ["/usr/bin/nydus-auth-agent"]);
    match(config.Labels["org.opencontainers.image.revision"], /^abc$/);
  }
});

Deno.test("provenance: lists artifacts as subjects, and the commit and inputs as dependencies", () => {
  const statement = provenance([{ name: "a", sha256: "1" }], {
    version: "1.2.3",
    commit: "abc",
    denoVersion: "2.9.6",
    inputs: [{ name: "deno.lock", sha256: "2" }],
  });
  deepEqual(statement.subject, [{ name: "a", digest: { sha256: "1" } }]);
  deepEqual(statement.predicate.buildDefinition.resolvedDependencies, [
    { name: "sources", digest: { gitCommit: "abc" } },
    { name: "deno.lock", digest: { sha256: "2" } },
  ]);
});

Deno.test("installedTexts: every file is a text of `show`", () => {
  const host = { calledAs: "nydus-auth-agent", out: () => {}, err: () => {} };
  const known = texts(commands({ host } as unknown as Context, () => {}));
  const files = installedTexts({ units: "/u", tmpfiles: "/t", share: "/s" });
  for (const { name } of files) equal(known.has(name), true, name);
  equal(files.some(({ path }) => path === "/s/man/man1/nydus-auth-agent.1"), true);
});
