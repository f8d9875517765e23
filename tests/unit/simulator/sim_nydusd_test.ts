import { deepEqual, equal } from "node:assert/strict";
import type { RawAnswer } from "../../../lib/simulator/nydusd_http.ts";
import { SimNydusd } from "../../../lib/simulator/sim_nydusd.ts";

const OLD = btoa("robot:old");
const NEW = btoa("robot:new");

/** A shared daemon with two mounts, `/1` with a credential and `/2` without. */
function daemon(version = "2.4.4"): SimNydusd {
  const spec = { id: "d", version, pollMs: 5_000, apiSocket: "", controlSocket: "", mounts: [] };
  const nydusd = new SimNydusd(spec);
  mount(nydusd, "1", OLD);
  mount(nydusd, "2", "");
  return nydusd;
}

function mount(nydusd: SimNydusd, snapshotId: string, auth: string): void {
  const config = { host: "127.0.0.1:1", repo: "a/b", ...(auth !== "" && { auth }) };
  nydusd.mount(
    { mountId: `/${snapshotId}`, snapshotId, configPath: "", blob: "sha256:00" },
    JSON.stringify({ device: { backend: { config } } }),
  );
}

function request(nydusd: SimNydusd, method: string, target: string, body = ""): RawAnswer {
  const [path = "", query = ""] = target.split("?");
  return nydusd.handle({ method, path, query: new URLSearchParams(query), body });
}

function json(answer: RawAnswer): unknown {
  return JSON.parse(answer.body ?? "");
}

function put(nydusd: SimNydusd, query: string, body: string): number {
  return request(nydusd, "PUT", `/api/v1/config${query}`, body).status;
}

function stored(nydusd: SimNydusd): unknown {
  return json(request(nydusd, "GET", "/api/v1/config"));
}

Deno.test("SimNydusd: starts with the credentials of the configuration files", () => {
  const nydusd = daemon();
  deepEqual(stored(nydusd), { "/1:registry_auth": OLD });
  deepEqual(json(request(nydusd, "GET", "/api/v1/config?id=/1")), { registry_auth: OLD });
});

Deno.test("SimNydusd: stores a value for an unknown id without changing a mount", () => {
  const nydusd = daemon();
  equal(put(nydusd, "?id=/9", `{"registry_auth":"${NEW}"}`), 204);
  deepEqual(stored(nydusd), { "/1:registry_auth": OLD, "/9:registry_auth": NEW });
});

Deno.test("SimNydusd: stores a value without an id under the empty id", () => {
  const nydusd = daemon();
  equal(put(nydusd, "", `{"registry_auth":"${NEW}"}`), 204);
  deepEqual(stored(nydusd), { "/1:registry_auth": OLD, ":registry_auth": NEW });
});

Deno.test("SimNydusd: accepts values that are not base64, empty values and empty objects", () => {
  const nydusd = daemon();
  equal(put(nydusd, "?id=%2F1", '{"registry_auth":"###"}'), 204);
  deepEqual(stored(nydusd), { "/1:registry_auth": "###" });
  equal(put(nydusd, "?id=/1", '{"registry_auth":""}'), 204);
  equal(put(nydusd, "?id=/1", "{}"), 204);
  deepEqual(stored(nydusd), { "/1:registry_auth": "" });
});

for (
  const body of ['{"registry_auth":7}', '{"registry_auth":null}', "[]", "null", '{"regis', ""]
) {
  Deno.test(`SimNydusd: rejects ${body || "no body"} with 400 and stores nothing`, () => {
    const nydusd = daemon();
    equal(put(nydusd, "?id=/1", body), 400);
    deepEqual(stored(nydusd), { "/1:registry_auth": OLD });
  });
}

Deno.test("SimNydusd: stores a known key despite the status 500 for an unknown one", () => {
  const nydusd = daemon();
  equal(put(nydusd, "?id=/1", `{"registry_auth":"${NEW}","other":"x"}`), 500);
  deepEqual(stored(nydusd), { "/1:registry_auth": NEW });
});

Deno.test("SimNydusd: returns an empty object for an unknown id", () => {
  const answer = request(daemon(), "GET", "/api/v1/config?id=/9");
  deepEqual([answer.status, json(answer)], [200, {}]);
});

Deno.test("SimNydusd: responds with 400 to other methods and to GET with a body, with 404 to other paths", () => {
  for (const path of ["/api/v1/config", "/api/v1/daemon", "/api/v1/metrics/backend"]) {
    equal(request(daemon(), "POST", path, "{}").status, 400, path);
    equal(request(daemon(), "DELETE", path).status, 400, path);
    equal(request(daemon(), "GET", path, "{}").status, 400, path);
    equal(
      request(daemon(), "GET", path === "/api/v1/config" ? "/api/v1/configs" : "/").status,
      404,
    );
  }
});

Deno.test("SimNydusd: has a configuration API from version 2.4.1 on", () => {
  equal(request(daemon("2.4.0"), "GET", "/api/v1/config").status, 404);
  equal(put(daemon("2.4.0"), "?id=/1", `{"registry_auth":"${NEW}"}`), 404);
  equal(put(daemon("2.4.1"), "?id=/1", `{"registry_auth":"${NEW}"}`), 204);
});

Deno.test("SimNydusd: polls for new values from version 2.4.2 on", () => {
  deepEqual(["2.4.0", "2.4.1", "2.4.2", "2.4.4"].map((v) => daemon(v).polls), [
    false,
    false,
    true,
    true,
  ]);
});

Deno.test("SimNydusd: describes its mounts without an id and without credentials", () => {
  const answer = request(daemon(), "GET", "/api/v1/daemon");
  const info = JSON.parse(answer.body ?? "");
  equal(info.id, null);
  equal(info.state, "RUNNING");
  equal(info.version.package_ver, "v2.4.4");
  deepEqual(Object.keys(info.backend_collection), ["/1", "/2"]);
  const { config } = info.backend_collection["/1"];
  equal(config.id, "/1");
  const { host, repo, auth } = config.backend.registry;
  deepEqual([host, repo, auth], ["127.0.0.1:1", "a/b", null]);
  equal(answer.body?.includes(OLD), false);
});

Deno.test("SimNydusd: counts reads per mount; without an id only for a single mount", () => {
  const nydusd = daemon();
  const counters = (query: string) => request(nydusd, "GET", `/api/v1/metrics/backend${query}`);
  equal(counters("").status, 404);
  equal(counters("").body?.includes("NoCounter"), true);
  equal(counters("?id=/9").status, 404);
  equal(counters("?id=/1").status, 200);
  nydusd.unmount("/2");
  equal(counters("").status, 200);
  equal(counters("?id=/2").status, 404);
});

Deno.test("SimNydusd: counts a failed read only for its mount", async () => {
  const nydusd = daemon();
  nydusd.unmount("/2");
  mount(nydusd, "3", OLD);
  const reads = await nydusd.readAll(); // port 1 has no listener
  deepEqual(reads.map(({ mountId, ok, status }) => [mountId, ok, status]), [
    ["/1", false, 0],
    ["/3", false, 0],
  ]);
  const { read_count, read_errors } = JSON.parse(
    request(nydusd, "GET", "/api/v1/metrics/backend?id=/3").body ?? "",
  );
  deepEqual([read_count, read_errors], [1, 1]);
});
