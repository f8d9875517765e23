import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { safeParse } from "valibot";
import { AgentError, type Credential, revealCredential, Secret } from "../../../lib/model/mod.ts";
import { type ApiAgent, type ApiCredential, loadApi } from "../../../lib/api/mod.ts";
import { ROUTES } from "../../../lib/api/routes.ts";
import { RESPONSES } from "../../../lib/api/schemas.ts";
import {
  healthOf,
  HealthTracker,
  withTextTimes,
  withTimesInMs,
} from "../../../lib/observability/mod.ts";
import { crowdedNode, hostileNode, oneImage } from "../observability/page/nodes.ts";
import { NOW_MS, statusOf } from "../observability/status_of.ts";

const FOUND: ApiCredential = {
  provider: "docker",
  credential: { kind: "basic", username: "u", password: new Secret("p") },
  origin: "a file",
  fingerprint: "0123abcd",
  fetchedAtMs: 0,
  expiresAtMs: 3_600_000,
  expired: false,
};

/** Returns an agent with fixed results, and the calls that it records. */
function fakeAgent(change: Partial<ApiAgent> = {}) {
  const calls: unknown[][] = [];
  const note = <T>(name: string, answer: T) => (...args: unknown[]) => {
    calls.push([name, ...args]);
    return answer;
  };
  const agent: ApiAgent = {
    credential: note("credential", Promise.resolve({ found: FOUND, why: [] })),
    put: note("put", { ref: "a", form: "basic" as const, username: "u", putAtMs: 0 }),
    puts: note("puts", [{ ref: "a", form: "basic" as const, putAtMs: 0, validUntilMs: 1_000 }]),
    forget: note("forget", true),
    refused: note("refused", Promise.resolve("requested" as const)),
    explain: note("explain", Promise.resolve({ image: "a" })),
    status: note("status", withTextTimes({ ...statusOf(), health: healthOf(statusOf(), NOW_MS) })),
    reconcile: note("reconcile", undefined),
    renew: note("renew", Promise.resolve([{ image: "a", result: "same" as const }])),
    logLevel: note("logLevel", "info" as const),
    setLogLevel: note("setLogLevel", undefined),
    ...change,
  };
  return { agent, calls };
}

/** A valid body for each schema. */
const BODIES: Readonly<Record<string, object>> = {
  get: { ref: "nginx" },
  put: { ref: "nginx", credential: { form: "basic", username: "u", password: "p" } },
  forget: { ref: "nginx" },
  refused: { ref: "nginx", fingerprint: "0123abcd" },
  explain: { ref: "nginx" },
  renew: { all: true },
  logLevel: { level: "debug" },
};

function labels(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`l${i}`, ""]));
}

async function request(
  agent: ApiAgent,
  method: string,
  path: string,
  body?: unknown,
  type = "application/json",
) {
  const app = await loadApi({ agent, version: "1.2.3" });
  const init = body === undefined ? {} : {
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": type },
  };
  const response = await app.request(path, { method, ...init });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

Deno.test("loadApi: every response matches its schema", async () => {
  const { agent, calls } = fakeAgent();
  for (const { method, path, body, response } of ROUTES) {
    const answered = await request(agent, method, path, body && BODIES[body]);
    equal(answered.status, 200, `${method} ${path}: ${JSON.stringify(answered.body)}`);
    const { success } = safeParse(RESPONSES[response], answered.body);
    ok(success, `${method} ${path}: ${JSON.stringify(answered.body)}`);
    equal(answered.headers.get("cache-control"), "no-store");
    equal(answered.headers.get("x-content-type-options"), "nosniff");
  }
  deepEqual(calls.map(([name]) => name), [
    ...["credential", "puts", "put", "forget", "refused", "explain", "status", "reconcile"],
    ...["renew", "logLevel", "setLogLevel", "logLevel"],
  ]);
});

Deno.test("withTextTimes: matches the schema of /v1/status, and is parsed to the same status", () => {
  const criProxy = {
    ...{
      state: "in-path",
      socket: "/s",
      idleSinceMs: NOW_MS - 600_000,
      restoredImages: 1,
    } as const,
    ...{ openConnections: 0, connections: 0, refusedConnections: 0, pulls: 0 },
    ...{ bytesToRuntime: 0, bytesToClients: 0, lostReadings: 0, skippedMessages: 0 },
  };
  const staleWatches = [{ subject: "s", reason: "source-unreachable", detail: "d" } as const];
  for (const { status } of [crowdedNode(), hostileNode(), oneImage()]) {
    const given = { ...status, criProxy, staleWatches, refusedConfig: ["a"], loopAgeMs: 0 };
    const health = new HealthTracker().view(given, NOW_MS);
    const document = JSON.parse(JSON.stringify(withTextTimes({ ...given, health })));
    const { success, issues } = safeParse(RESPONSES.status, document);
    ok(success, JSON.stringify(issues?.[0]));
    ok(!/"\w+(?:At|Since)Ms"|"nowMs"/.test(JSON.stringify(document)));
    const parsed = withTimesInMs(document);
    deepEqual(parsed, JSON.parse(JSON.stringify({ ...given, health })));
  }
});

Deno.test("openApiDocument: describes every route and has no dangling references", async () => {
  const { body: document } = await request(fakeAgent().agent, "GET", "/v1/openapi.json");
  equal(document.info.version, "1.2.3");
  const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path}`)
  );
  deepEqual(documented.sort(), ROUTES.map(({ method, path }) => `${method} ${path}`).sort());
  equal(document.paths["/v1/credentials/get"].post.requestBody.required, true);
  equal(document.paths["/v1/credentials/get"].post.operationId, "postCredentialsGet");
  equal(document.paths["/v1/log-level"].put.operationId, "putLogLevel");
  const references = JSON.stringify(document).matchAll(/"#\/components\/schemas\/([^"]+)"/g);
  for (const [, name = ""] of references) ok(name in document.components.schemas, name);
  const schemas = Object.entries<{ properties?: Record<string, { description?: string }> }>(
    document.components.schemas,
  );
  const undescribed = schemas.flatMap(([name, { properties = {} }]) =>
    name.startsWith("requests.") || name === "responses.credential"
      ? Object.keys(properties).filter((field) => !properties[field]?.description)
      : []
  );
  deepEqual(undescribed, [
    ...["credential", "all", "level"],
    ...["image", "credential", "origin", "expired"],
  ]);
  const { findings } = document.components.schemas["responses.status"].properties.health.properties;
  ok(findings.items.properties.code.enum.includes("reads-failing"));
});

Deno.test("loadApi: represents a registry by one of its images", async () => {
  const { agent, calls } = fakeAgent();
  await request(agent, "POST", "/v1/credentials/get", { registry: "registry.example.com" });
  const [[, lookup] = []] = calls;
  const { image, ...rest } = lookup as { image: { registry: string } };
  equal(image.registry, "registry.example.com");
  deepEqual(rest, { labels: {} });
});

Deno.test("loadApi: accepts values of exactly the limits", async () => {
  const { agent } = fakeAgent();
  const get = async (body: object) =>
    (await request(agent, "POST", "/v1/credentials/get", body)).status;
  equal(await get({ ref: "a" }), 200);
  equal(await get({ ref: "a", validFor: "1h".padStart(64, "0") }), 200);
  equal(await get({ ref: "a", validFor: "1h".padStart(65, "0") }), 400);
  equal(await get({ ref: "nginx", labels: labels(64) }), 200);
  equal(await get({ ref: "nginx", labels: labels(65) }), 400);
  equal(await get({ ref: "nginx", labels: { ["l".repeat(1_024)]: "" } }), 200);
  equal(await get({ ref: "nginx", labels: { ["l".repeat(1_025)]: "" } }), 400);
  equal(await get({ ref: "nginx", labels: { l: "x".repeat(49_152) } }), 200);
  equal(await get({ ref: "nginx", labels: { l: "x".repeat(49_153) } }), 400);
  const put = async (password: string) => {
    const body = { ref: "nginx", credential: { form: "basic", username: "u", password } };
    return (await request(agent, "PUT", "/v1/credentials", body)).status;
  };
  equal(await put("x".repeat(49_152)), 200);
  equal(await put("x".repeat(49_153)), 400);
});

Deno.test("loadApi: passes on every form of a pushed credential", async () => {
  const { agent, calls } = fakeAgent();
  const forms = [
    { form: "basic", username: "u", password: "p" },
    { form: "registry-token", token: "t" },
    { form: "identity-token", username: "u", token: "t" },
  ];
  const push = async (credential: object) => {
    equal((await request(agent, "PUT", "/v1/credentials", { ref: "a", credential })).status, 200);
    const [, , given] = calls.at(-1) as [string, unknown, { credential: Credential }];
    return revealCredential(given.credential);
  };
  for (const form of forms) deepEqual(await push(form), form);
  const token = { form: "identity-token", token: "t" };
  deepEqual(await push(token), { ...token, username: "" });
});

Deno.test("loadApi: accepts the required lifetime as a duration or as a time, not both", async () => {
  const { agent, calls } = fakeAgent();
  const labels = { a: "b" };
  const validUntil = "2030-01-02T03:04:05Z";
  for (const path of ["/v1/credentials/get", "/v1/explain"]) {
    const send = (lifetime: object) =>
      request(agent, "POST", path, { ref: "nginx", labels, ...lifetime });
    for (
      const [lifetime, expected] of [
        [{}, {}],
        [{ validFor: "4h" }, { validForMs: 4 * 3_600_000 }],
        [{ validUntil }, { validUntilMs: Date.parse(validUntil) }],
      ] as const
    ) {
      equal((await send(lifetime)).status, 200);
      const { image: _, ...lookup } = calls.at(-1)?.[1] as { image: unknown };
      deepEqual(lookup, { labels, ...expected });
    }
    const both = await send({ validFor: "4h", validUntil });
    equal(both.body.error.message, "invalid body: give either validFor or validUntil");
    equal((await send({ validUntil: "tomorrow" })).status, 400);
  }
});

Deno.test("loadApi: rejects fields that exclude each other, and a body without any of them", async () => {
  const { agent, calls } = fakeAgent();
  const message = async (method: string, path: string, body: object) =>
    (await request(agent, method, path, body)).body.error.message;
  const credential = { form: "basic", username: "u", password: "p" };
  const put = { ref: "a", credential };
  const refused = { fingerprint: "0a" };
  const lifetime = { validFor: "4h", validUntil: "2030-01-02T03:04:05Z" };
  const cases: readonly (readonly [string, string, object, string])[] = [
    ["PUT", "/v1/credentials", { credential }, "ref or registry"],
    ["PUT", "/v1/credentials", { ...put, registry: "b.example" }, "ref or registry"],
    ["PUT", "/v1/credentials", { ...put, labels: {} }, "credential or labels"],
    ["PUT", "/v1/credentials", { ...put, ...lifetime }, "validFor or validUntil"],
    ["DELETE", "/v1/credentials", {}, "ref or registry"],
    ["DELETE", "/v1/credentials", { ref: "a", registry: "b.example" }, "ref or registry"],
    ["POST", "/v1/refused", refused, "ref or registry"],
    ["POST", "/v1/refused", { ...refused, ref: "a", registry: "b.example" }, "ref or registry"],
    ["POST", "/v1/renew", {}, "ref or all"],
    ["POST", "/v1/renew", { ref: "a", all: true }, "ref or all"],
  ];
  for (const [method, path, body, fields] of cases) {
    const expected = `invalid body: give either ${fields}`;
    equal(await message(method, path, body), expected, JSON.stringify(body));
  }
  deepEqual(calls, []);
});

Deno.test("loadApi: rejects any invalid body without quoting it", async () => {
  const { agent, calls } = fakeAgent();
  const marked = fc.string({ minLength: 1, maxLength: 20 }).map((text) => `marked ${text}`);
  const routes = ROUTES.filter(({ body }) => body !== undefined);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...routes),
      fc.oneof(
        fc.object({ values: [marked, fc.integer(), fc.boolean()], key: marked }),
        marked,
        fc.constantFrom([], null, 7),
      ),
      async ({ method, path }, body) => {
        const text = JSON.stringify(body);
        const answer = await request(agent, method, path, text);
        equal(answer.status, 400, text);
        deepEqual(Object.keys(answer.body), ["error"]);
        ok(!JSON.stringify(answer.body).includes("marked"), JSON.stringify(answer.body));
      },
    ),
    { numRuns: 200 },
  );
  deepEqual(calls, [], "invalid requests do not reach the agent");
});

Deno.test("loadApi: names the field of an invalid body, the fields that exist, and what is expected", async () => {
  const { agent } = fakeAgent();
  const message = async (path: string, body: unknown, method = "POST") =>
    (await request(agent, method, path, body)).body.error.message;
  const get = (body: unknown) => message("/v1/credentials/get", body);
  const push = (credential: unknown) => message("/v1/credentials", { ref: "a", credential }, "PUT");
  const fields = "the fields are ref, registry, labels, validFor, validUntil";
  const credentialFields = "the fields are form, username, password, token";
  const basic = { form: "basic", username: "u", password: "p" };
  deepEqual(
    await Promise.all([
      get({ ref: "a", valid_for: "4h" }),
      get({ ref: "a", "hunter 2": 1 }),
      get({ ref: "a", abcdefghijklmnopqrstu: 1 }),
      get({ ref: 7 }),
      get({}),
      get(7),
      get({ ref: "a", labels: { "hunter two": 1 } }),
      get({ ref: "a", labels: labels(65) }),
      get({ ref: "a".repeat(4_097) }),
      get({ registry: "a".repeat(256) }),
      get({ ref: "a", validUntil: "tomorrow" }),
      push({ ...basic, pass: "x" }),
      push({ form: "basic", username: "u" }),
      push({ form: "other" }),
      push(7),
      message("/v1/log-level", { level: "loud" }, "PUT"),
      message("/v1/refused", { ref: "a" }),
      message("/v1/refused", { ref: "a", fingerprint: "G" }),
    ]),
    [
      `invalid body: unknown field valid_for; ${fields}`,
      `invalid body: unknown field; ${fields}`,
      `invalid body: unknown field; ${fields}`,
      "invalid ref: expected string",
      "invalid body: give either ref or registry",
      "invalid body: expected Object",
      "invalid labels: expected string",
      "invalid labels: at most 64 labels",
      "invalid ref: expected <=4096",
      "invalid registry: expected <=255",
      "invalid validUntil: expected a time in RFC 3339",
      `invalid credential: unknown field pass; ${credentialFields}`,
      "invalid credential: password is missing",
      'invalid credential.form: expected ("basic" | "registry-token" | "identity-token")',
      "invalid credential: expected Object",
      'invalid level: expected ("debug" | "info" | "warning" | "error")',
      "invalid body: fingerprint is missing",
      "invalid fingerprint: expected /^[0-9a-f]{1,64}$/",
    ],
  );
});

Deno.test("loadApi: reports errors of the agent, and unexpected errors without their text", async () => {
  const failing = (error: Error) =>
    fakeAgent({
      status: () => {
        throw error;
      },
    }).agent;
  const usage = await request(failing(new AgentError("usage", "do it so")), "GET", "/v1/status");
  deepEqual([usage.status, usage.body.error], [400, { code: "usage", message: "do it so" }]);
  const defect = await request(failing(new Error("secret words")), "GET", "/v1/status");
  equal(defect.status, 500);
  ok(!JSON.stringify(defect.body).includes("secret words"));
  const late = await request(
    failing(new DOMException("late", "TimeoutError")),
    "GET",
    "/v1/status",
  );
  equal(late.status, 504);
  const other = await request(failing(new DOMException("x", "DataError")), "GET", "/v1/status");
  equal(other.status, 500);
});

Deno.test("loadApi: responds with 404 and the reason of each provider without a credential", async () => {
  const why = ["docker: no-entry-for-registry: nothing"];
  const { agent } = fakeAgent({ credential: () => Promise.resolve({ why }) });
  const { status, body } = await request(agent, "POST", "/v1/credentials/get", { ref: "a" });
  deepEqual([status, body.error.code, body.error.details], [404, "no-credential", why]);
});

Deno.test("loadApi: lists the allowed methods for an unsupported one", async () => {
  const { agent } = fakeAgent();
  const answer = await request(agent, "PATCH", "/v1/credentials", {});
  deepEqual([answer.status, answer.headers.get("allow")], [405, "GET, PUT, DELETE"]);
  equal(answer.body.error.message, "use GET or PUT or DELETE");
  const single = await request(agent, "PUT", "/v1/status", {});
  deepEqual([single.status, single.headers.get("allow")], [405, "GET"]);
  equal((await request(agent, "GET", "/v1/none", undefined)).status, 404);
  equal((await request(agent, "PUT", "/v1/log-level", "level=debug", "text/plain")).status, 415);
});
