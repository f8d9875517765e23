import { deepStrictEqual, notStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { DaemonListReader } from "../../../lib/edge/daemon_list.ts";
import { Secret, type SnapshotterDaemon } from "../../../lib/model/mod.ts";

/** A daemon as the snapshotter lists it, with figures that change at every look. */
interface Listed {
  readonly id: string;
  readonly rss: number;
  readonly instances: readonly (readonly [string, string])[];
}

/** As Go writes a list: compact, keys in order. */
function textOf(daemons: readonly Listed[]): string {
  return `[${daemons.map(daemonText).join(",")}]`;
}

function daemonText({ id, rss, instances }: Listed): string {
  const mounts = instances.map(([snapshot, image]) =>
    `${JSON.stringify(snapshot)}:${
      JSON.stringify({ snapshot_id: snapshot, snapshot_dir: "/s", mountpoint: "", image_id: image })
    }`
  );
  const known = { id, pid: 7, api_socket: `/run/${id}.sock`, reference: 1, memory_rss_kb: rss };
  return `${JSON.stringify(known).slice(0, -1)},"instances":{${mounts.join(",")}}}`;
}

function expected(daemons: readonly Listed[]): SnapshotterDaemon[] {
  return daemons.map(({ id, instances }) => ({
    id,
    apiSocket: `/run/${id}.sock`,
    pid: 7,
    instances: instances.map(([snapshotId, imageId]) => ({ snapshotId, imageId })),
  }));
}

const answered = (text: string) => ({
  kind: "answered" as const,
  status: 200,
  body: new Secret(text),
});

/** Texts that could be taken for the end, or the beginning, of a piece. */
const nasty = fc.constantFrom("}}", '"', "\\", '\\"', "{}", '"instances":{', '"instances":0', "{{");
const word = fc.oneof(
  { weight: 3, arbitrary: fc.string({ maxLength: 8 }) },
  fc.array(nasty, { maxLength: 3 }).map((parts) => parts.join("")),
);
// Keys that are numbers or that stand twice come in another order out of any JSON reader.
const instances = fc.uniqueArray(fc.tuple(word.map((text) => `s${text}`), word), {
  selector: ([snapshot]) => snapshot,
  maxLength: 4,
});
const listed = fc.record({ id: word.map((text) => `d${text}`), rss: fc.nat(), instances });

Deno.test("whatever a list says, and whatever the one before said, it is read as it is", () => {
  fc.assert(
    fc.property(fc.array(fc.array(listed, { maxLength: 4 }), { maxLength: 4 }), (lists) => {
      const reader = new DaemonListReader();
      let before: readonly SnapshotterDaemon[] | undefined;
      for (const list of lists) {
        const answer = reader.read(answered(textOf(list)), before);
        ok(answer.kind === "ok");
        deepStrictEqual(answer.value, expected(list));
        before = answer.value;
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("mounts that are told in the same words are the same object, in whatever order", () => {
  const reader = new DaemonListReader();
  const one: Listed = { id: "one", rss: 1, instances: [["1", "a/b:1"], ["2", "a/c:1"]] };
  const two: Listed = { id: "two", rss: 1, instances: [["3", "a/d:1"]] };
  const none: Listed = { id: "none", rss: 1, instances: [] };
  const read = (list: readonly Listed[], before?: readonly SnapshotterDaemon[]) => {
    const answer = reader.read(answered(textOf(list)), before);
    ok(answer.kind === "ok");
    deepStrictEqual(answer.value, expected(list));
    return answer.value;
  };
  const first = read([one, none, two]);
  const turned = read([{ ...two, rss: 2 }, { ...one, rss: 3 }, none], first);
  strictEqual(turned[0]?.instances, first[2]?.instances);
  strictEqual(turned[1]?.instances, first[0]?.instances);
  const other = { ...two, instances: [["3", "a/d:2"]] as const };
  const changed = read([one, other], turned);
  strictEqual(changed[0]?.instances, first[0]?.instances);
  notStrictEqual(changed[1]?.instances, first[2]?.instances);
  const longer = { ...one, instances: [...one.instances, ["4", "a/e:1"]] as const };
  notStrictEqual(read([longer], changed)[0]?.instances, first[0]?.instances);
});

Deno.test("a list that is written otherwise is read all the same", () => {
  const list = [{ id: "a", api_socket: "/s", instances: { "1": { image_id: "x/y:1" } } }];
  const texts = [
    JSON.stringify(list, null, 2),
    JSON.stringify(list.map((daemon) => ({ 'a"instances': { b: { c: 1 } }, ...daemon }))),
    JSON.stringify(list.map((daemon) => ({ more: { instances: { a: { b: 1 } } }, ...daemon }))),
    JSON.stringify(list).replace('{"1"', '{ "1"'),
    JSON.stringify(list).replace('"x/y:1"}', '"x/y:1","more":{"a":{}}}'),
  ];
  for (const text of texts) {
    const answer = new DaemonListReader().read(answered(text));
    ok(answer.kind === "ok", text);
    const instances = [{ snapshotId: "1", imageId: "x/y:1" }];
    deepStrictEqual(answer.value, [{ id: "a", apiSocket: "/s", pid: 0, instances }], text);
  }
});
