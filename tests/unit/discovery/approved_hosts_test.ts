import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
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
  const names = new ApprovedHosts({
    files,
    mirrorsDir: DIR,
    vpcRegistry: false,
    allowedHosts: [],
    ...change,
  });
  return { files, names };
}

const hosts = (...urls: readonly string[]) =>
  urls.map((url) => `[host."${url}"]\ncapabilities = ["pull"]\n`).join("");

Deno.test("mirrorFiles looks where the snapshotter does", () => {
  deepStrictEqual(mirrorFiles("/d", "r.io:5000"), [
    "/d/r.io_5000_/hosts.toml",
    "/d/r.io:5000/hosts.toml",
    "/d/_default/hosts.toml",
  ]);
  deepStrictEqual(mirrorFiles("/d", "r.io"), ["/d/r.io/hosts.toml", "/d/_default/hosts.toml"]);
});

Deno.test("mirrorsOf takes hosts of URLs and of bare names; what is broken is undefined", () => {
  deepStrictEqual(mirrorsOf(hosts("https://m1:5000/v2/x", "http://m2", "m3:80")), [
    "m1:5000",
    "m2",
    "m3:80",
  ]);
  deepStrictEqual(mirrorsOf('server = "https://s"'), [], "the server is no mirror");
  for (const text of ["[host", 'host = "m"', "host = []"]) strictEqual(mirrorsOf(text), undefined);
});

Deno.test("a mirror is named for its registry, and for no other", async () => {
  const { files, names } = stage();
  files.set(`${DIR}/registry.example.com_5000_/hosts.toml`, hosts("http://mirror:5000"));
  const file = `${DIR}/registry.example.com_5000_/hosts.toml`;
  strictEqual(await names.nameOf(APP, registry("mirror:5000")), file);
  strictEqual(await names.nameOf(APP, registry("mirror")), undefined);
  strictEqual(await names.nameOf(APP, registry("mirror:5001")), undefined);
  strictEqual(await names.nameOf(OTHER, registry("mirror:5000")), undefined);
  strictEqual(await names.nameOf(HUB, registry("mirror:5000")), undefined);
  deepStrictEqual(await names.mirrorsFor(APP), [{ host: "mirror:5000", path: file }]);
});

Deno.test("_default names for every registry, and Docker Hub's folder is index.docker.io", async () => {
  const { files, names } = stage();
  files.set(`${DIR}/_default/hosts.toml`, hosts("https://all.example.com"));
  files.set(`${DIR}/index.docker.io/hosts.toml`, hosts("https://hub.example.com"));
  for (const image of [APP, OTHER, HUB]) {
    ok(await names.nameOf(image, registry("all.example.com")));
  }
  ok(await names.nameOf(HUB, registry("hub.example.com")));
  strictEqual(await names.nameOf(OTHER, registry("hub.example.com")), undefined);
});

Deno.test("the file is parsed when it changes, and a broken one names what it named", async () => {
  const { files, names } = stage();
  const path = `${DIR}/other.example.com/hosts.toml`;
  const named = async () => {
    names.refresh();
    return await names.nameOf(OTHER, registry("mirror")) !== undefined;
  };
  strictEqual(await named(), false);
  files.set(path, hosts("http://mirror"));
  strictEqual(await named(), true);
  const reads = files.reads.length;
  strictEqual(await named(), true);
  strictEqual(files.reads.length, reads, "it is not read again");
  files.set(path, '[host."http://mir');
  strictEqual(await named(), true);
  files.set(path, hosts("http://another"));
  strictEqual(await named(), false);
  files.set(path, hosts("http://mirror"));
  strictEqual(await named(), true);
  files.remove(path);
  strictEqual(await named(), false);
});

Deno.test("the template names its mirrors and its proxy, and no registry", async () => {
  const { files, names } = stage({ templatePath: "/etc/nydus/t.json" });
  const config = {
    host: "template.example.com",
    proxy: { url: "http://127.0.0.1:65001" },
    mirrors: [{ host: "http://old-mirror" }],
  };
  files.set("/etc/nydus/t.json", JSON.stringify({ device: { backend: { config } } }));
  const proxy = { role: "proxy", scheme: "http", host: "127.0.0.1:65001" } as const;
  strictEqual(await names.nameOf(APP, proxy), "/etc/nydus/t.json");
  ok(await names.nameOf(APP, { role: "mirror", scheme: "http", host: "old-mirror" }));
  strictEqual(await names.nameOf(APP, registry("127.0.0.1:65001")), undefined);
  strictEqual(await names.nameOf(APP, registry("template.example.com")), undefined);
  strictEqual(await names.nameOf(APP, { ...proxy, host: "127.0.0.1:65002" }), undefined);
});

Deno.test("convert_vpc_registry names the -vpc host of the image's own registry", async () => {
  const vpc = "registry-vpc.cn-hangzhou.example.com";
  const image = parseImageReference("registry.cn-hangzhou.example.com/a:1");
  strictEqual(await stage().names.nameOf(image, registry(vpc)), undefined);
  const { names } = stage({ vpcRegistry: true });
  ok(await names.nameOf(image, registry(vpc)));
  strictEqual(await names.nameOf(OTHER, registry(vpc)), undefined);
});

Deno.test("allowed_hosts: patterns of hosts with their ports, for every image", async () => {
  const { names } = stage({ allowedHosts: ["*.cache.example.com:5000", "proxy"] });
  ok(await names.nameOf(APP, registry("a.cache.example.com:5000")));
  ok(await names.nameOf(HUB, { role: "proxy", scheme: "http", host: "proxy" }));
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
    strictEqual(await names.nameOf(APP, registry(host)), undefined, host);
  }
});

Deno.test("NamedHosts.inherit keeps what a file named that a reload finds half-written", async () => {
  const { files, names: before } = stage();
  const file = `${DIR}/registry.example.com_5000_/hosts.toml`;
  files.set(file, hosts("http://mirror:5000"));
  strictEqual(await before.nameOf(APP, registry("mirror:5000")), file);
  files.set(file, '[host."http://mir');
  const options = { files, mirrorsDir: DIR, vpcRegistry: false, allowedHosts: [] };
  strictEqual(await new ApprovedHosts(options).nameOf(APP, registry("mirror:5000")), undefined);
  const after = new ApprovedHosts(options);
  after.inherit(before);
  strictEqual(await after.nameOf(APP, registry("mirror:5000")), file);
  files.remove(file);
  after.refresh();
  strictEqual(await after.nameOf(APP, registry("mirror:5000")), undefined, "gone is not broken");
});
