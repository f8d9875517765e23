import { deepEqual, equal, match } from "node:assert/strict";
import { join } from "node:path";
import { runProgram } from "../../../lib/cli/mod.ts";
import { type Context, listenUnix } from "../../../lib/platform/mod.ts";
import { CALLED_BY_AGENT, readPluginResponse } from "../../../lib/providers/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeHost } from "../../fakes/host.ts";
import { FakeProcessRunner } from "../../fakes/process.ts";

const PLUGIN = "/plugins/ecr-credential-provider";
/** As the kubelet of Kubernetes 1.34 encodes it. */
const REQUEST = {
  kind: "CredentialProviderRequest",
  apiVersion: "credentialprovider.kubelet.k8s.io/v1",
  image: "registry.example.com/team/app:1",
};

async function answerOf(
  serve: (body: string) => Response | undefined,
  { request = REQUEST, env = {}, args = [PLUGIN, "get"] }: {
    readonly request?: object | string;
    readonly env?: Record<string, string>;
    readonly args?: readonly string[];
  } = {},
) {
  const dir = await Deno.makeTempDir({ prefix: "provider-" });
  const socket = join(dir, "api.sock");
  const queries: string[] = [];
  try {
    await using _agent = await listenUnix(socket, async (http) => {
      const body = await http.text();
      queries.push(body);
      return serve(body) ?? new Response("not the agent");
    });
    const host = Object.assign(new FakeHost(), {
      calledAs: "nydus-credential-provider",
      args,
      env: { NYDUS_AUTH_AGENT_API_SOCKET: socket, ...env },
      readInput: () =>
        Promise.resolve(typeof request === "string" ? request : JSON.stringify(request)),
    });
    const processRunner = new FakeProcessRunner(() => "from the plugin");
    const context = { host, files: new FakeFiles(), clock: new FakeClock(0), processRunner };
    const code = await runProgram(context as unknown as Context);
    return { code, out: host.written, err: host.complained, queries, processRunner };
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const served = (more: object = {}) =>
  Response.json({
    provider: "kubelet",
    credential: { form: "basic", username: "AWS", password: "p" },
    origin: "o",
    fetchedAt: "",
    ...more,
  });

Deno.test("credential-provider: answers from the running agent, without an execution", async () => {
  const expiresAt = new Date(3_600_500).toISOString();
  const { code, out, queries, processRunner } = await answerOf(() => served({ expiresAt }));
  equal(code, 0);
  deepEqual(queries.map((body) => JSON.parse(body)), [{ ref: REQUEST.image }]);
  equal(processRunner.requests.length, 0);
  deepEqual(JSON.parse(out), {
    kind: "CredentialProviderResponse",
    apiVersion: REQUEST.apiVersion,
    cacheKeyType: "Image",
    cacheDuration: "3600s",
    auth: { "registry.example.com": { username: "AWS", password: "p" } },
  });
  equal(readPluginResponse(out, 0).kind, "responded");
});

Deno.test("credential-provider: caches until refresh-after, and nothing without an expiry", async () => {
  const durationOf = async (more: object) =>
    JSON.parse((await answerOf(() => served(more))).out).cacheDuration;
  const iso = (ms: number) => new Date(ms).toISOString();
  equal(await durationOf({ refreshAt: iso(60_000), expiresAt: iso(90_000) }), "60s");
  equal(await durationOf({ expiresAt: iso(-1) }), "0s");
  equal(await durationOf({}), "0s");
});

Deno.test("credential-provider: answers that the agent has no credential", async () => {
  const error = { code: "no-credential", message: "none", details: [] };
  const none = await answerOf(() => Response.json({ error }, { status: 404 }));
  deepEqual([JSON.parse(none.out).auth, none.processRunner.requests.length], [null, 0]);
});

Deno.test("credential-provider: executes the plugin when the agent must not, or cannot, answer", async () => {
  const token = { form: "registry-token", token: "t" };
  const cases: [string, Parameters<typeof answerOf>, number][] = [
    ["no agent answers", [() => undefined], 1],
    ["the agent fails", [() => Response.json({}, { status: 500 })], 1],
    ["the agent called it", [() => served(), { env: { [CALLED_BY_AGENT]: "1" } }], 0],
    [
      "a service account",
      [() => served(), { request: { ...REQUEST, serviceAccountToken: "sa" } }],
      0,
    ],
    ["another version", [() => served(), { request: { ...REQUEST, apiVersion: "v2" } }], 0],
    ["a request that is not JSON", [() => served(), { request: "" }], 0],
    ["an invalid image", [() => served(), { request: { ...REQUEST, image: "" } }], 0],
    ["an invalid setting", [() => served(), { env: { NYDUS_AUTH_AGENT_LOG_LEVEL: "?" } }], 0],
    ["another form", [() => served({ credential: token })], 1],
    ["a tenant's pull secret", [() => served({ provider: "kubesecret" })], 1],
    ["another pod's account", [() => served({ account: "ns/app" })], 1],
  ];
  for (const [name, parameters, queryCount] of cases) {
    const { code, out, queries, processRunner } = await answerOf(...parameters);
    deepEqual([code, out, queries.length], [0, "from the plugin", queryCount], name);
    const [{ path, args, env, stdin } = {} as never] = processRunner.requests;
    deepEqual([path, args, env], [PLUGIN, ["get"], { [CALLED_BY_AGENT]: "1" }], name);
    const { request = REQUEST } = parameters[1] ?? {};
    equal(stdin, typeof request === "string" ? request : JSON.stringify(request));
  }
});

Deno.test("credential-provider: fails without an agent and a plugin", async () => {
  const without = await answerOf(() => undefined, { args: [] });
  deepEqual([without.code, without.out], [1, ""]);
  match(without.err, /no agent answers, and no plugin is given/);
  const invalid = await answerOf(() => served(), { request: "", args: [] });
  deepEqual([invalid.code, invalid.out], [1, ""]);
  match(invalid.err, /^error: the request on stdin.* is not JSON, and no plugin is given\n$/);
});
