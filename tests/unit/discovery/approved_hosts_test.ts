import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { ApprovedHosts, type ApprovedHostsOptions } from "../../../lib/discovery/mod.ts";
import { mirrorFiles, mirrorsOf } from "../../../lib/discovery/approved_hosts.ts";
import { type CredentialHost, parseImageReference } from "../../../lib/model/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";

const APP = parseImageReference("registry.example.com:5000/team/app:v1");
const OTHER = parseImageReference("other.example.com/app:v1");
const HUB = parseImageReference("nginx");
const DIR = "/certs.d";

const registry = (host: string): CredentialHost => ({ role: "registry", scheme: "https", host });

function stage(change: Partial<ApprovedHostsOptions> = {}) {
  const files = new FakeFiles();
  const approved = new ApprovedHosts({
    files,
    mirrorsDir: DIR,
    vpcRegistry: false,
    allowedHosts: [],
    ...change,
  });
  return { files, approved };
}

const hosts = (...urls: readonly string[]) =>
  urls.map((url) => `[host."${url}"]\ncapabilities = ["pull"]\n`).join("");

Deno.test("mirrorFiles: returns the files of the snapshotter", () => {
  deepStrictEqual(mirrorFiles("/d", "r.io:5000"), [
    "/d/r.io_5000_/hosts.toml",
    "/d/r.io:5000/hosts.toml",
    "/d/_default/hosts.toml",
  ]);
  deepStrictEqual(mirrorFiles("/d", "r.io"), ["/d/r.io/hosts.toml", "/d/_default/hosts.toml"]);
});

Deno.test("mirrorsOf: accepts URLs and bare hosts, and throws for an invalid file", () => {
  deepStrictEqual(mirrorsOf(hosts("https://m1:5000/v2/x", "http://m2", "m3:80")), [
    "m1:5000",
    "m2",
    "m3:80",
  ]);
  deepStrictEqual(mirrorsOf('server = "https://s"'), [], "`server` is not a mirror");
  const many = mirrorsOf(hosts(...Array.from({ length: 65 }, (_, i) => `m${i}`)));
  deepStrictEqual([many.length, many.at(-1)], [64, "m63"], "64 at most");
  for (const text of ["[host", 'host = "m"', "host = []"]) throws(() => mirrorsOf(text));
});

Deno.test("ApprovedHosts: a mirror is approved only for its registry", async () => {
  const { files, approved } = stage();
  files.set(`${DIR}/registry.example.com_5000_/hosts.toml`, hosts("http://mirror:5000"));
  const file = `${DIR}/registry.example.com_5000_/hosts.toml`;
  strictEqual(await approved.approvalOf(APP, registry("mirror:5000")), file);
  strictEqual(await approved.approvalOf(APP, registry("mirror")), undefined);
  strictEqual(await approved.approvalOf(APP, registry("mirror:5001")), undefined);
  strictEqual(await approved.approvalOf(OTHER, registry("mirror:5000")), undefined);
  strictEqual(await approved.approvalOf(HUB, registry("mirror:5000")), undefined);
  deepStrictEqual(await approved.mirrorsFor(APP), [{ host: "mirror:5000", path: file }]);
});

Deno.test("ApprovedHosts: `_default` is for every registry, and `index.docker.io` for Docker Hub", async () => {
  const { files, approved } = stage();
  files.set(`${DIR}/_default/hosts.toml`, hosts("https://all.example.com"));
  files.set(`${DIR}/index.docker.io/hosts.toml`, hosts("https://hub.example.com"));
  for (const image of [APP, OTHER, HUB]) {
    ok(await approved.approvalOf(image, registry("all.example.com")));
  }
  ok(await approved.approvalOf(HUB, registry("hub.example.com")));
  strictEqual(await approved.approvalOf(OTHER, registry("hub.example.com")), undefined);
});

Deno.test("ApprovedHosts: reads a file once per discovery, and keeps its hosts while it is invalid", async () => {
  const { files, approved } = stage();
  const path = `${DIR}/other.example.com/hosts.toml`;
  const isApproved = async () => {
    approved.refresh();
    return await approved.approvalOf(OTHER, registry("mirror")) !== undefined;
  };
  strictEqual(await isApproved(), false);
  files.set(path, hosts("http://mirror"));
  strictEqual(await isApproved(), true);
  files.set(path, '[host."http://mir');
  strictEqual(await isApproved(), true);
  files.set(path, hosts("http://another"));
  strictEqual(await isApproved(), false);
  files.set(path, hosts("http://mirror"));
  strictEqual(await isApproved(), true);
  files.remove(path);
  strictEqual(await isApproved(), false);
});

Deno.test("ApprovedHosts: reads files of at most 256 KiB", async () => {
  const { files, approved } = stage();
  const text = hosts("http://mirror");
  for (const [bytes, isRead] of [[256 * 1024, true], [256 * 1024 + 1, false]] as const) {
    approved.refresh();
    approved.refresh(); // forgets the previous hosts
    files.set(`${DIR}/other.example.com/hosts.toml`, text + "#".repeat(bytes - text.length));
    const approval = await approved.approvalOf(OTHER, registry("mirror"));
    strictEqual(approval !== undefined, isRead, `${bytes} bytes`);
  }
});

Deno.test("ApprovedHosts: the template approves its mirrors and its proxy, but no registry", async () => {
  const { files, approved } = stage({ templatePath: "/etc/nydus/t.json" });
  const config = {
    host: "template.example.com",
    proxy: { url: "http://127.0.0.1:65001" },
    mirrors: [{ host: "http://old-mirror" }],
  };
  files.set("/etc/nydus/t.json", JSON.stringify({ device: { backend: { config } } }));
  const proxy = { role: "proxy", scheme: "http", host: "127.0.0.1:65001" } as const;
  strictEqual(await approved.approvalOf(APP, proxy), "/etc/nydus/t.json");
  ok(await approved.approvalOf(APP, { role: "mirror", scheme: "http", host: "old-mirror" }));
  strictEqual(await approved.approvalOf(APP, registry("127.0.0.1:65001")), undefined);
  strictEqual(await approved.approvalOf(APP, registry("template.example.com")), undefined);
  strictEqual(await approved.approvalOf(APP, { ...proxy, host: "127.0.0.1:65002" }), undefined);
});

Deno.test("ApprovedHosts: convert_vpc_registry approves the -vpc host of the image's registry", async () => {
  const vpc = "registry-vpc.cn-hangzhou.example.com";
  const image = parseImageReference("registry.cn-hangzhou.example.com/a:1");
  strictEqual(await stage().approved.approvalOf(image, registry(vpc)), undefined);
  const { approved } = stage({ vpcRegistry: true });
  ok(await approved.approvalOf(image, registry(vpc)));
  strictEqual(await approved.approvalOf(OTHER, registry(vpc)), undefined);
});

Deno.test("ApprovedHosts: allowed_hosts are patterns with ports, for every image", async () => {
  const { approved } = stage({ allowedHosts: ["*.cache.example.com:5000", "proxy"] });
  ok(await approved.approvalOf(APP, registry("a.cache.example.com:5000")));
  ok(await approved.approvalOf(HUB, { role: "proxy", scheme: "http", host: "proxy" }));
  for (
    const host of [
      "a.cache.example.com",
      "a.b.cache.example.com:5000",
      "cache.example.com:5000",
      "a.cache.example.com:5000.evil.example",
      "proxy.evil.example",
      "a b",
    ]
  ) {
    strictEqual(await approved.approvalOf(APP, registry(host)), undefined, host);
  }
});
