import { deepStrictEqual, ok } from "node:assert/strict";
import {
  type NydusdApi,
  Secret,
  type UnixHttp,
  type UnixHttpRequest,
} from "../../../lib/model/mod.ts";
import { createNydusdApi, createSnapshotterApi } from "../../../lib/platform/mod.ts";

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

/** A peer with one answer that records the requests. */
function recorder(answer: unknown) {
  const requests: (readonly [UnixHttpRequest, AbortSignal | undefined])[] = [];
  const body = new Secret(JSON.stringify(answer));
  const http: UnixHttp = {
    request(request, { signal } = {}) {
      requests.push([request, signal]);
      return Promise.resolve({ kind: "answered", status: 200, body });
    },
    [Symbol.dispose]() {},
  };
  return { http, requests };
}

Deno.test("NydusdApi, SnapshotterApi: each request has a deadline and ends with the caller's signal", async () => {
  const { http, requests } = recorder({});
  const options = new AbortController();
  const nydusd = createNydusdApi(http);
  await nydusd.info("/n", options);
  await nydusd.readAuths("/n", { signal: options.signal, mountId: "/1" });
  await nydusd.putAuth("/n", "/1", new Secret("x"), options);
  await nydusd.backendReads("/n", { signal: options.signal });
  await createSnapshotterApi(http).daemons("/s", options);
  deepStrictEqual(requests.map(([{ timeoutMs }]) => timeoutMs), [
    1_500,
    1_500,
    1_500,
    1_500,
    2_000,
  ]);
  ok(requests.every(([, signal]) => signal === options.signal));
  deepStrictEqual(requests.map(([{ path }]) => path).slice(1, 4), [
    "/api/v1/config?id=%2F1",
    "/api/v1/config?id=%2F1",
    "/api/v1/metrics/backend",
  ]);
});

Deno.test("NydusdApi: reads the credential of one mount, or of all", async () => {
  const one = createNydusdApi(recorder({ registry_auth: "a", other: "b" }).http);
  const all = createNydusdApi(recorder({ "/1:registry_auth": "a", "/2:registry_auth": "b" }).http);
  const read = async (api: NydusdApi, mountId?: string) => {
    const result = await api.readAuths("/n", mountId === undefined ? {} : { mountId });
    ok(result.kind === "ok");
    return [...result.value].map(([id, auth]) => [id, auth.reveal()]);
  };
  deepStrictEqual(await read(one, "/1"), [["/1", "a"]]);
  deepStrictEqual(await read(all), [["/1", "a"], ["/2", "b"]]);
  const put = await one.putAuth("/n", "/1", new Secret("x"));
  deepStrictEqual(put, { kind: "ok", value: undefined });
});

Deno.test("SnapshotterApi: a daemon may lack what the agent does not need", async () => {
  const { http } = recorder([{ id: "d", api_socket: "/s", instances: { "7": {} } }]);
  deepStrictEqual(await createSnapshotterApi(http).daemons("/s"), {
    kind: "ok",
    value: [
      { id: "d", apiSocket: "/s", pid: 0, instances: [{ snapshotId: "7", imageId: "" }] },
    ],
  });
});
