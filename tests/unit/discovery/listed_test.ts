import { deepStrictEqual, fail, strictEqual } from "node:assert/strict";
import {
  isSegment,
  listedBySystemApi,
  type ListedDaemon,
  listRootFolder,
  mergeListed,
  newestFirst,
  upgradeOf,
} from "../../../lib/discovery/listed.ts";
import { FakeFiles } from "../../fakes/files.ts";

function listed(
  id: string,
  socket: string,
  snapshots: readonly string[],
  change: Partial<ListedDaemon> = {},
): ListedDaemon {
  const instances = snapshots.map((snapshotId) => ({ snapshotId }));
  return { id, apiSocket: socket, source: "root", instances, ...change };
}

/** Returns one line per daemon. */
function summary(daemons: readonly ListedDaemon[]): readonly string[] {
  return daemons.map(({ id, source, apiSocket, olderSockets = [], instances }) => {
    const mounts = instances.map(({ snapshotId }) => snapshotId).join("+");
    return `${id} ${source} ${[apiSocket, ...olderSockets].join(",")} ${mounts}`;
  });
}

Deno.test("mergeListed: merges by ID or socket, the first source takes precedence", () => {
  const system = { source: "system-api" } as const;
  const configured = { source: "configured" } as const;
  type Row = readonly [name: string, ListedDaemon[][], string[]];
  const table: readonly Row[] = [
    ["sorted by id", [[listed("b", "/b", ["2"]), listed("a", "/a", ["1"])]], [
      "a root /a 1",
      "b root /b 2",
    ]],
    ["more mounts", [[listed("a", "/a", ["1"], system)], [listed("a", "/a", ["1", "2"])]], [
      "a system-api /a 1+2",
    ]],
    [
      "a dedicated mount under another id",
      [[listed("a", "/a", ["1"], system)], [listed("a", "/a", ["a"], { dedicated: true })]],
      ["a system-api /a 1"],
    ],
    [
      "a dedicated mount that only the later source lists",
      [[listed("a", "/a", [], system)], [listed("a", "/a", ["a"], { dedicated: true })]],
      ["a system-api /a a"],
    ],
    [
      "an upgrade that only the later source lists",
      [[listed("a", "/s/api.sock", ["1"], system)], [listed("a", "/s/api2.sock", ["1"])]],
      ["a system-api /s/api2.sock,/s/api.sock 1"],
    ],
    [
      "an upgrade that only the earlier source lists",
      [[listed("a", "/s/api1.sock", ["1"], system)], [listed("a", "/s/api.sock", ["1"])]],
      ["a system-api /s/api1.sock,/s/api.sock 1"],
    ],
    [
      "a configured daemon with a known socket",
      [[listed("a", "/s/api1.sock", ["1"], { olderSockets: ["/s/api.sock"] })], [
        listed("x", "/s/api.sock", ["x"], configured),
      ]],
      ["a root /s/api1.sock,/s/api.sock 1"],
    ],
    [
      "a configured daemon with an ID of the snapshotter",
      [[listed("a", "/a", ["1"])], [listed("a", "/other", ["x"], configured)]],
      ["a root /a 1", "a configured /other x"],
    ],
    [
      "the order of the IDs",
      [[listed("c", "/c", []), listed("b", "/b", [])], [listed("a", "/a", [])]],
      ["a root /a ", "b root /b ", "c root /c "],
    ],
  ];
  for (const [name, lists, wanted] of table) {
    deepStrictEqual(summary(mergeListed(lists)), wanted, name);
  }
});

Deno.test("newestFirst: sorts sockets by the number of the upgrade", () => {
  deepStrictEqual(
    newestFirst(["/a/api.sock", "/a/api10.sock", "/a/other.sock", "/a/api2.sock"]),
    ["/a/api10.sock", "/a/api2.sock", "/a/api.sock", "/a/other.sock"],
  );
  const table: readonly (readonly [string, number])[] = [
    ["api.sock", 0],
    ["/a/api7.sock", 7],
    ["/a/xapi7.sock", -1],
    ["/a/api7.sock.bak", -1],
    ["/a/api-1.sock", -1],
    ["/a/api99999999999.sock", -1],
  ];
  for (const [socket, wanted] of table) strictEqual(upgradeOf(socket), wanted, socket);
});

Deno.test("listRootFolder: the file above a mount's file is a template, which may be unreadable", async () => {
  const files = new FakeFiles();
  const config = `{"device":{"backend":{"type":"registry","config":{"host":"reg.io","repo":"a"}}}}`;
  files.set("/data/socket/d1/api.sock", "", "socket");
  files.set("/data/config/d1/config.json", config);
  const listed = async () => {
    const [{ dedicated, instances } = fail()] = await listRootFolder("/data", files);
    return { dedicated, snapshots: instances.map(({ snapshotId }) => snapshotId) };
  };
  deepStrictEqual(await listed(), { dedicated: true, snapshots: ["d1"] });
  files.refuseReading("/data/config/d1/config.json");
  deepStrictEqual(await listed(), { dedicated: undefined, snapshots: [] });
  files.refuseReading("/data/config/d1/config.json", false);
  files.set("/data/config/d1/7/config.json", config);
  deepStrictEqual(await listed(), { dedicated: undefined, snapshots: ["7"] });
});

Deno.test("isSegment: accepts only a valid path segment", () => {
  for (const id of ["", ".", "..", "a/b", "a\0", "x".repeat(256)]) {
    strictEqual(isSegment(id), false);
  }
  for (const id of ["a", "...", "d1-x", "x".repeat(255)]) strictEqual(isSegment(id), true);
});

Deno.test("listedBySystemApi: leaves out and reports invalid IDs", () => {
  const daemon = { id: "a", pid: 0, apiSocket: "/a", instances: [] };
  const { daemons, refused } = listedBySystemApi([
    { ...daemon, instances: [{ snapshotId: "1", imageId: "" }, { snapshotId: "..", imageId: "" }] },
    { ...daemon, id: "..", apiSocket: "/b" },
    { ...daemon, id: "c", apiSocket: "relative" },
  ]);
  deepStrictEqual(summary(daemons), ["a system-api /a 1"]);
  strictEqual(daemons[0]?.pid, undefined);
  strictEqual(daemons[0]?.instances[0]?.imageProblem !== undefined, true);
  strictEqual(refused.length, 3);
});

Deno.test("listedBySystemApi: quotes at most 80 characters of an invalid ID", () => {
  const id = `${"x".repeat(80)}/y`;
  const { refused } = listedBySystemApi([{ id, pid: 0, apiSocket: "/a", instances: [] }]);
  deepStrictEqual(refused, [`daemon "${"x".repeat(80)}" has an invalid ID or socket`]);
});
