import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { AgentStatus } from "../../../lib/model/mod.ts";
import { type AppOptions, createApp, isAllowedHost } from "../../../lib/observability/app.ts";
import { healthOf, withTimesInMs } from "../../../lib/observability/mod.ts";
import { imageOf, NOW_MS, statusOf } from "./status_of.ts";

function appOf(status: AgentStatus = statusOf(), options: Partial<AppOptions> = {}) {
  return createApp({
    metrics: { page: () => Promise.resolve({ contentType: "text/x", body: "m" }) },
    status: () => status,
    health: () => healthOf(status, NOW_MS),
    hostname: "127.0.0.1",
    now: () => 0,
    ...options,
  });
}

function unstarted(): AgentStatus {
  const { firstReconcileAtMs: _, lastReconcileAtMs: __, ...rest } = statusOf();
  return { ...rest, startedAtMs: NOW_MS - 1_000 };
}

Deno.test("createApp: serves metrics on both paths with their content type", async () => {
  for (const path of ["/metrics", "/v1/metrics"]) {
    const response = await appOf().request(path);
    equal(response.headers.get("content-type"), "text/x");
    equal(await response.text(), "m");
  }
});

Deno.test("createApp: /livez and /readyz follow the health before the first reconcile, after it, and when stuck", async () => {
  const codes = async (status: AgentStatus) => {
    const app = appOf(status);
    const paths = ["/livez", "/readyz", "/readyz?verbose", "/healthz"];
    return await Promise.all(paths.map(async (path) => (await app.request(path)).status));
  };
  deepEqual(await codes(unstarted()), [200, 503, 503, 200]);
  deepEqual(await codes(statusOf()), [200, 200, 200, 200]);
  deepEqual(await codes(statusOf({ lastReconcileAtMs: NOW_MS - 600_000 })), [503, 503, 503, 503]);
});

Deno.test("createApp: /readyz?verbose has one line for each check", async () => {
  const problems = [{ source: "root", subject: "/r\n[+] fake", detail: "gone" } as const];
  const text = await (await appOf(statusOf({ problems })).request("/readyz?verbose")).text();
  const lines = text.trimEnd().split("\n");
  deepEqual(lines.map((line) => line.split(":")[0]), [
    "[+] loop",
    "[+] first-reconcile",
    "[+] configuration",
    "[+] credentials",
    "[+] deliveries",
    "[+] reads",
    "[+] daemons",
    "[+] sources",
    "[!] discovery",
    "warning",
    "ready",
  ]);
  const early = await (await appOf(unstarted()).request("/readyz")).text();
  match(early, /^\[-\] first-reconcile: not completed/m);
});

Deno.test("createApp: /v1/status is the status with the health", async () => {
  const status = statusOf({ images: [imageOf("registry.example/app:1")] });
  const response = await appOf(status).request("/v1/status");
  match(response.headers.get("content-type") ?? "", /^application\/json/);
  const { health, ...rest } = await response.json();
  deepEqual(withTimesInMs(rest), status);
  equal(health.summary, "no nydus mounts on this node: nothing to renew");
});

Deno.test("createApp: every response has the security headers and no CORS header", async () => {
  const app = appOf();
  const requests = ["/", "/images?ref=x", "/metrics", "/livez", "/nothing"].map((
    path,
  ) => app.request(path));
  const post = app.request("/metrics", { method: "POST" });
  const foreign = app.request("/", { headers: { host: "evil.example" } });
  for (const { headers } of await Promise.all([...requests, post, foreign])) {
    match(
      headers.get("content-security-policy") ?? "",
      /^default-src 'none'; style-src 'sha256-[^ ]+'; script-src 'sha256-[^ ]+'; connect-src 'self'; /,
    );
    ok(!/unsafe|\*|https?:/.test(headers.get("content-security-policy") ?? ""));
    equal(headers.get("x-content-type-options"), "nosniff");
    equal(headers.get("cache-control"), "no-store");
    equal(headers.get("access-control-allow-origin"), null);
  }
});

Deno.test("createApp: handles unknown paths, other methods, HEAD and internal errors", async () => {
  const app = appOf();
  const missing = await app.request("/nothing");
  equal(missing.status, 404);
  deepEqual(Object.keys(await missing.json()), ["error"]);
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
    const response = await app.request("/metrics", { method });
    equal(response.status, 405);
    equal(response.headers.get("allow"), "GET, HEAD");
  }
  const head = await app.request("/livez", { method: "HEAD" });
  deepEqual([head.status, await head.text()], [200, ""]);
  const broken = appOf(statusOf(), {
    status: () => {
      throw new Error("hunter2-canary");
    },
  });
  const response = await broken.request("/v1/status");
  equal(response.status, 500);
  ok(!(await response.text()).includes("canary"));
});

Deno.test("createApp: rejects a request with an unknown host", async () => {
  const response = await appOf().request("/v1/status", { headers: { host: "evil.example" } });
  equal(response.status, 421);
  ok(!(await response.text()).includes("startedAtMs"));
});

Deno.test("isAllowedHost: accepts loopback, configured hosts, and any address of an open server", () => {
  const local = "127.0.0.1";
  for (
    const host of ["localhost:9111", "LOCALHOST", "127.0.0.1:9111", "127.1.2.3", "[::1]:9111"]
  ) ok(isAllowedHost(host, local), host);
  for (
    const host of [
      "",
      "evil.example",
      "127.0.0.1.evil.example",
      "localhost.evil.example",
      "10.0.0.1:9111",
      "[fd00::1]",
      "a@localhost",
      "localhost/x",
      "localhost, evil.example",
    ]
  ) ok(!isAllowedHost(host, local), host);
  for (const open of ["0.0.0.0", "::", "10.0.0.1", "node1.example"]) {
    ok(isAllowedHost("10.0.0.1:9111", open), open);
    ok(isAllowedHost("[fd00::1]:9111", open), open);
    ok(!isAllowedHost("evil.example:9111", open), open);
  }
  ok(isAllowedHost("node1.example:9111", "node1.example"));
  ok(isAllowedHost("[fd00::1]:80", "fd00::1"));
});

Deno.test("createApp: renders pages and metrics at most once per second and shares them", async () => {
  let nowMs = 0;
  let rendered = 0;
  const metrics = {
    page: () => Promise.resolve({ contentType: "text/x", body: String(++rendered) }),
  };
  let calls = 0;
  const status = () => {
    calls++;
    return statusOf();
  };
  const app = appOf(statusOf(), { metrics, status, now: () => nowMs });
  const text = async (path: string) => await (await app.request(path)).text();
  deepEqual(
    await Promise.all(Array.from({ length: 50 }, () => text("/metrics"))),
    Array(50).fill("1"),
  );
  nowMs = 999;
  equal(await text("/metrics"), "1");
  nowMs = 1_000;
  equal(await text("/v1/metrics"), "2");
  for (const path of ["/", "/v1/status", "/images?ref=registry.example/app:1"]) {
    calls = 0;
    const responses = await Promise.all(Array.from({ length: 50 }, () => app.request(path)));
    const lengths = new Set(responses.map(({ headers }) => headers.get("content-length")));
    const [body = "", ...others] = await Promise.all(responses.map((response) => response.text()));
    equal(calls, 1, path);
    ok(others.every((other) => other === body));
    deepEqual([...lengths], [String(new TextEncoder().encode(body).length)]);
  }
  const images = Array.from(
    { length: 40 },
    async (_, i) => (await app.request(`/images?ref=a${i}`)).status,
  );
  equal((await Promise.all(images)).filter((status) => status === 503).length, 9, "32 per second");
});

Deno.test("createApp: does not cache a failed rendering", async () => {
  let fails = true;
  const page = () => {
    if (fails) throw new Error("canary");
    return Promise.resolve({ contentType: "text/x", body: "m" });
  };
  const app = appOf(statusOf(), { metrics: { page } });
  equal((await app.request("/metrics")).status, 500);
  fails = false;
  equal((await app.request("/metrics")).status, 200);
});

Deno.test("createApp: with metricsOnly it serves metrics and health without details", async () => {
  const app = appOf(statusOf({ lastReconcileAtMs: NOW_MS - 600_000 }), { metricsOnly: true });
  for (
    const path of ["/", "/images?ref=x", "/v1/status", "/healthz"]
  ) {
    equal((await app.request(path)).status, 404, path);
  }
  equal((await app.request("/metrics")).status, 200);
  for (const path of ["/livez", "/readyz?verbose"]) {
    match(await (await app.request(path)).text(), /^not (?:live|ready)\n$/);
  }
});
