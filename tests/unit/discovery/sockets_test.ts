import { deepEqual } from "node:assert/strict";
import { expandSocket, watchedPath } from "../../../lib/discovery/listed.ts";
import { FakeFiles } from "../../fakes/files.ts";

function sockets(...paths: readonly string[]): FakeFiles {
  const files = new FakeFiles();
  for (const path of paths) files.set(path, "", "socket");
  return files;
}

Deno.test("expandSocket: returns a plain path even if it does not exist", async () => {
  deepEqual(await expandSocket("/run/d.sock", sockets()), ["/run/d.sock"]);
});

Deno.test("expandSocket: returns only existing paths", async () => {
  const files = sockets("/run/n2/api.sock", "/run/n1/api.sock", "/run/nothing/other", "/run/x");
  deepEqual(await expandSocket("/run/n*/api.sock", files), [
    "/run/n1/api.sock",
    "/run/n2/api.sock",
  ]);
  deepEqual(await expandSocket("/run/none*/api.sock", files), []);
  deepEqual(await expandSocket("/none/*", files), []);
});

Deno.test("expandSocket: keeps an inaccessible socket for the probe to report", async () => {
  const files = sockets("/run/n1/api.sock", "/run/n2/api.sock");
  files.refuseReading("/run/n2/api.sock");
  deepEqual(await expandSocket("/run/n*/api.sock", files), [
    "/run/n1/api.sock",
    "/run/n2/api.sock",
  ]);
});

for (
  const [pattern, path] of [
    ["/run/d.sock", "/run/d.sock"],
    ["/run/nydus/*.sock", "/run/nydus"],
    ["/run/nydus/*/api.sock", "/run/nydus"],
    ["/run/*.sock", "/run"],
    ["/run/n*/api.sock", undefined],
    ["/*/nydus/api.sock", undefined],
  ] as const
) {
  Deno.test(`watchedPath: returns ${path} for ${pattern}`, () => {
    deepEqual(watchedPath(pattern), path);
  });
}
