import { deepEqual, equal, match } from "node:assert/strict";
import { load, problemsOf } from "./sources.ts";

function entries(...daemons: Readonly<Record<string, string>>[]): string {
  return daemons.map((daemon) =>
    ["[[daemons]]", ...Object.entries(daemon).map(([k, v]) => `${k} = ${JSON.stringify(v)}`)]
      .join("\n")
  ).join("\n");
}

Deno.test("resolveDaemons: keeps socket, ref and id unchanged", async () => {
  const daemon = { id: "web", socket: "/run/nydusd/api.sock", ref: "registry.example.com/a:v1" };
  deepEqual((await load({ ours: entries(daemon) })).node.daemons, [daemon]);
});

Deno.test("resolveDaemons: derives ids from sockets", async () => {
  const sockets = [
    ["/var/nydus/socket/cq1/api.sock", "cq1"],
    ["/var/nydus/socket/cq2/api7.sock", "cq2"],
    ["/run/web.sock", "web"],
    ["/run/plain", "plain"],
    ["/run/nydusd/*/api.sock", "configured-5"],
    ["/run/[ab].sock", "configured-6"],
    ["/api.sock", "configured-7"],
  ] as const;
  const ours = entries(...sockets.map(([socket]) => ({ socket, ref: "nginx" })));
  const { daemons } = (await load({ ours })).node;
  deepEqual(daemons.map(({ id }) => id), sockets.map(([, id]) => id));
});

Deno.test("resolveDaemons: rejects a duplicate socket or id", async () => {
  const ref = "nginx";
  const problems = await problemsOf({
    ours: entries(
      { socket: "/a/x.sock", ref },
      { socket: "/b/x.sock", ref },
      { socket: "/a/x.sock", ref, id: "other" },
    ),
  });
  deepEqual(problems.map(({ place, problem }) => [place, problem]), [
    ["daemons[1].id", `"x" is already used by daemons[0].id`],
    ["daemons[2].socket", `"/a/x.sock" is already used by daemons[0].socket`],
  ]);
  match(problems[0]?.remedy ?? "", /id = "x-2"/);
  equal(problems.length, 2);
});
