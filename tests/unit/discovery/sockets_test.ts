import { deepEqual } from "node:assert/strict";
import { listConfigured, watchedPath } from "../../../lib/discovery/listed.ts";
import { FakeFiles } from "../../fakes/files.ts";

const REF = "registry.example.com/app/web:v1";

async function listed(socket: string, files: FakeFiles): Promise<readonly string[]> {
  const daemons = await listConfigured([{ id: "one", socket, ref: REF }], files);
  return daemons.map(({ id, apiSocket }) => `${id} ${apiSocket}`);
}

Deno.test("listConfigured: returns a plain path even if it does not exist", async () => {
  deepEqual(await listed("/run/d.sock", new FakeFiles()), ["one /run/d.sock"]);
});

Deno.test("listConfigured: a glob matches at most 1,000 sockets", async () => {
  const files = new FakeFiles();
  for (let i = 0; i < 1_001; i++) files.set(`/run/${i}.sock`, "", "socket");
  deepEqual((await listed("/run/*.sock", files)).length, 1_000);
});

Deno.test("listConfigured: returns a daemon for each existing socket of a glob", async () => {
  const files = new FakeFiles();
  for (const path of ["/run/n2/api.sock", "/run/n1/api.sock", "/run/n3/other", "/run/x"]) {
    files.set(path, "", "socket");
  }
  deepEqual(await listed("/run/n*/api.sock", files), [
    "one:/run/n1/api.sock /run/n1/api.sock",
    "one:/run/n2/api.sock /run/n2/api.sock",
  ]);
  deepEqual(await listed("/run/none*/api.sock", files), []);
  deepEqual(await listed("/none/*", files), []);
});

for (
  const [glob, path] of [
    ["/run/d.sock", "/run/d.sock"],
    ["/run/nydus/*.sock", "/run/nydus"],
    ["/run/nydus/*/api.sock", "/run/nydus"],
    ["/run/*.sock", "/run"],
    ["/run/n*/api.sock", undefined],
    ["/*/nydus/api.sock", undefined],
  ] as const
) {
  Deno.test(`watchedPath: returns ${path} for ${glob}`, () => {
    deepEqual(watchedPath(glob), path);
  });
}
