import { deepEqual } from "node:assert/strict";
import { configDifferences } from "../../../lib/config/mod.ts";
import { load, type Sources } from "./sources.ts";

async function differences(a: Sources, b: Sources): Promise<string[]> {
  return configDifferences(await load(a), await load(b));
}

Deno.test("configDifferences: is empty for equal settings", async () => {
  deepEqual(await differences({}, {}), []);
  deepEqual(
    await differences({ ours: `log.level = "info"` }, { flags: { checkInterval: "60s" } }),
    [],
  );
});

Deno.test("configDifferences: returns key paths of the configuration file", async () => {
  const cases: [Sources, string[]][] = [
    [{ flags: { checkInterval: "2m" } }, ["renewal.check_interval"]],
    [{ flags: { credentialRenewalInterval: "0s" } }, ["renewal.credential_renewal_interval"]],
    [{ flags: { address: "127.0.0.1:1" } }, ["server.address"]],
    [{ flags: { address: "off" } }, ["server.address"]],
    [{ flags: { systemAddress: "off", snapshotterRoot: "/r" } }, [
      "snapshotter.root",
      "snapshotter.system_address",
    ]],
    [{ flags: { dockerConfig: "/d" } }, ["providers.docker.config"]],
    [{ theirs: `[remote.mirrors_config]\ndir = "/m"` }, ["remote.mirrors_config.dir"]],
  ];
  for (const [sources, wanted] of cases) {
    deepEqual(await differences({}, sources), wanted);
    deepEqual(await differences(sources, {}), wanted);
  }
});

Deno.test("configDifferences: identifies daemons by their index", async () => {
  const entry = (socket: string, ref: string) =>
    `[[daemons]]\nsocket = "${socket}"\nref = "${ref}"\n`;
  const before = { ours: entry("/a.sock", "nginx") + entry("/b.sock", "nginx") };
  const after = { ours: entry("/a.sock", "nginx") + entry("/b.sock", "redis") };
  deepEqual(await differences(before, after), ["daemons[1].ref"]);
  const fewer = { ours: entry("/a.sock", "nginx") };
  deepEqual(await differences(before, fewer), [
    "daemons[1].ref",
    "daemons[1].socket",
  ]);
});
