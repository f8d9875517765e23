import { deepStrictEqual } from "node:assert/strict";
import { Secret, type UnixHttp } from "../../../lib/model/mod.ts";
import { createNydusdApi } from "../../../lib/platform/mod.ts";

/** A peer that answers only these paths, with status 200. */
function peer(answers: Readonly<Record<string, string>>): UnixHttp {
  return {
    request({ path }) {
      const body = answers[path];
      const status = body === undefined ? 404 : 200;
      return Promise.resolve({ kind: "answered", status, body: new Secret(body ?? "") });
    },
    [Symbol.dispose]() {},
  };
}

Deno.test("NydusdApi: recognizes a daemon of version 3 by its metrics", async () => {
  const kindOf = async (answers: Readonly<Record<string, string>>) => {
    const info = await createNydusdApi(peer(answers)).info("/run/api.sock");
    return info.kind === "ok" ? `${info.value.version} ${info.value.state}` : info.kind;
  };
  const daemon = JSON.stringify({ version: { package_ver: "v2.4.4" }, state: "INIT" });
  const table = [
    [{ "/api/v1/daemon": daemon, "/metrics": "" }, "v2.4.4 INIT"],
    [{ "/metrics": "", "/trace": "" }, "v3 RUNNING"],
    [{ "/trace": "" }, "refused"],
    [{}, "refused"],
  ] as const;
  for (const [answers, wanted] of table) deepStrictEqual(await kindOf(answers), wanted);
});
