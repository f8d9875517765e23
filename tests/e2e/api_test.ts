import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, command, simNode } from "./stage.ts";

const NEVER = 'check_interval = "1h"\nrefresh_interval = "1h"';

interface ApiResponse {
  readonly status: number;
  // deno-lint-ignore no-explicit-any -- each test knows the type of its response
  readonly body: any;
}

/** Sends a request over the agent's socket. */
async function request(
  node: SimNode,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = { "content-type": "application/json" },
): Promise<ApiResponse> {
  using client = Deno.createHttpClient({
    proxy: { transport: "unix", path: join(node.dir, "api.sock") },
  });
  const response = await fetch(`http://127.0.0.1${path}`, {
    client,
    method,
    ...(body !== undefined && {
      body: typeof body === "string" ? body : JSON.stringify(body),
      headers,
    }),
  });
  const text = await response.text();
  return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
}

const config = (node: SimNode) => ["--config", join(node.dir, "agent.toml")];

Deno.test("API: delivers a stored credential first, until it is removed", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  await using agent = await AgentProcess.start(node, { renewal: NEVER });
  const daemon = node.daemons.get("d1");
  const currentAuth = () => daemon?.currentAuth(daemon.instances[0]?.mountId ?? "");
  await agent.until("docker's credential", async () => await currentAuth() === "robot:first");

  const credential = { form: "basic", username: "ada", password: "put-by-hand" };
  // A stored credential is probed: the registry has to accept it before it is delivered.
  node.passwordRegistry.accept("ada", "put-by-hand");
  const put = await request(node, "PUT", "/v1/credentials", {
    ref: image,
    credential,
    validFor: "1h",
  });
  strictEqual(put.status, 200, JSON.stringify(put.body));
  deepStrictEqual([put.body.ref, put.body.username, put.body.form], [image, "ada", "basic"]);
  ok(Date.parse(put.body.validUntil) > Date.now());
  await agent.until("the stored credential", async () => await currentAuth() === "ada:put-by-hand");
  const got = await request(node, "POST", "/v1/credentials/get", { ref: image });
  deepStrictEqual(got.body.credential, credential);
  strictEqual(got.body.provider, "labels");
  const list = await request(node, "GET", "/v1/credentials");
  strictEqual(list.body.credentials.length, 1);
  ok(!JSON.stringify(list.body).includes("put-by-hand"), "the list contains no secret");

  const gone = await request(node, "DELETE", "/v1/credentials", { ref: image });
  deepStrictEqual(gone.body, { forgotten: true });
  await agent.until("docker's credential again", async () => await currentAuth() === "robot:first");
  const twice = await request(node, "DELETE", "/v1/credentials", { ref: image });
  deepStrictEqual(twice.body, { forgotten: false });
  ok(!agent.log.includes("put-by-hand"));
});

Deno.test("API: stores pull labels as a credential, until they expire", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/shop/app:1`;
  await using agent = await AgentProcess.start(node);
  const labels = {
    "containerd.io/snapshot/pullusername": "ada",
    "containerd.io/snapshot/pullsecret": "of-a-label",
  };
  const { status } = await request(node, "PUT", "/v1/credentials", {
    ref: image,
    labels,
    validFor: "1s",
  });
  strictEqual(status, 200);
  const username = async () =>
    (await request(node, "POST", "/v1/credentials/get", { ref: image })).body.credential?.username;
  strictEqual(await username(), "ada");
  await agent.until("the expiry", async () => await username() === "robot");
  const alone = { "containerd.io/snapshot/pullusername": "ada" };
  const half = await request(node, "PUT", "/v1/credentials", { ref: image, labels: alone });
  deepStrictEqual([half.status, half.body.error.code], [400, "usage"]);
});

Deno.test("API: a rejection of the current credential causes one execution", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  for (const id of ["d1", "d2", "d3"]) {
    await node.addDaemon({ id, mode: "dedicated", images: [image] });
  }
  await using agent = await AgentProcess.start(node, { renewal: NEVER });
  const current = async () =>
    (await request(node, "POST", "/v1/credentials/get", { ref: image })).body.fingerprint;
  const before = await current();
  const executions = node.pluginExecutions();
  const wrong = await request(node, "POST", "/v1/refused", { ref: image, fingerprint: "0123abcd" });
  deepStrictEqual(wrong.body, { outcome: "not-current" });
  const report = () => request(node, "POST", "/v1/refused", { ref: image, fingerprint: before });
  deepStrictEqual((await report()).body, { outcome: "requested" });
  await agent.until("another credential", async () => await current() !== before);
  strictEqual(node.pluginExecutions() - executions, 1);
  deepStrictEqual((await report()).body, { outcome: "not-current" });
  const daemon = node.daemons.get("d3");
  const newest = node.newestPair(image);
  await agent.until(
    "the newest in every mount",
    async () => await daemon?.currentAuth(daemon.instances[0]?.mountId ?? "") === newest,
  );
  strictEqual(node.pluginExecutions() - executions, 1, "one execution for three mounts");
});

Deno.test("API: pauses requests after a rejection that the provider cannot fix", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/shop/app:1`;
  await using _agent = await AgentProcess.start(node, { renewal: NEVER });
  const { body } = await request(node, "POST", "/v1/credentials/get", { ref: image });
  const { fingerprint } = body;
  const report = async () =>
    (await request(node, "POST", "/v1/refused", { ref: image, fingerprint })).body.outcome;
  deepStrictEqual([await report(), await report()], ["requested", "backing-off"]);
});

Deno.test("renew: bypasses caches and backoffs", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
  const host = node.tokenRegistry.host;
  const images = [1, 2, 3, 4].map((n) => `${host}/shop/app:${n}`);
  await node.addDaemon({ id: "s1", mode: "shared", images });
  await using _agent = await AgentProcess.start(node, { renewal: NEVER });
  const executions = node.pluginExecutions();
  const all = await command(["renew", "--all", "--output", "json", ...config(node)]);
  strictEqual(all.code, 0, all.err);
  const { images: renewed } = JSON.parse(all.out);
  deepStrictEqual(
    new Set(renewed.map(({ result }: { result: string }) => result)),
    new Set(["changed"]),
  );
  strictEqual(renewed.length, 4);
  strictEqual(node.pluginExecutions() - executions, 1, "one registry, one execution");

  node.setPlugin({ mode: "fail" });
  const failed = await command(["renew", images[0] ?? "", ...config(node)]);
  strictEqual(failed.code, 1);
  match(failed.out, /failed/);
  node.setPlugin({ mode: "issue" });
  const again = await command(["renew", images[0] ?? "", ...config(node)]);
  strictEqual(again.code, 0, again.out);
  match(again.out, /changed/);

  // An empty result is cached for seconds; renew drops it.
  const other = `${host}/shop/other:1`;
  node.setPlugin({ mode: "none", cacheDuration: "1h" });
  const none = await command(["renew", other, ...config(node)]);
  strictEqual(none.code, 0);
  match(none.out, /no credential/);
  node.setPlugin({ mode: "issue" });
  match((await command(["renew", other, ...config(node)])).out, /changed/);
  strictEqual((await command(["get", other, ...config(node)])).code, 0);
  strictEqual((await command(["renew", ...config(node)])).code, 2, "neither an image nor --all");
  strictEqual((await command(["renew", "UPPER//", ...config(node)])).code, 2);
});

Deno.test("log-level: changes the log level of the running agent", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node, { renewal: 'check_interval = "100ms"' });
  const set = await command(["log-level", "set", "error", ...config(node)]);
  deepStrictEqual([set.code, set.out], [0, "error\n"]);
  const length = agent.log.length;
  const { status } = await request(node, "POST", "/v1/reconcile");
  strictEqual(status, 200);
  strictEqual((await command(["log-level", "get", ...config(node)])).out, "error\n");
  strictEqual(agent.log.length, length, "nothing below it is written");
  await command(["log-level", "set", "debug", ...config(node)]);
  await agent.until("new lines", () => agent.log.length > length);
  const wrong = await command(["log-level", "set", "loud", ...config(node)]);
  strictEqual(wrong.code, 2);
  match(wrong.err, /debug, info, warning, error/);
});

Deno.test("API: rejects invalid requests with an error that contains no secret", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node);
  const secret = "s3cret-in-a-wrong-place";
  const wrong: readonly [string, string, unknown, number][] = [
    ["POST", "/v1/credentials/get", `{"ref": "${secret}`, 400],
    ["POST", "/v1/credentials/get", { ref: "a", registry: "b.example.com" }, 400],
    ["POST", "/v1/credentials/get", { ref: 7 }, 400],
    ["POST", "/v1/credentials/get", { ref: "UPPER//CASE" }, 400],
    ["POST", "/v1/credentials/get", { ref: "unknown.example.com/a" }, 404],
    ["PUT", "/v1/credentials", { ref: "a", credential: { form: "basic", password: secret } }, 400],
    ["PUT", "/v1/credentials", { ref: "a", [secret]: secret }, 400],
    ["PUT", "/v1/credentials", { registry: "a/b", labels: {} }, 400],
    ["PUT", "/v1/credentials", { ref: "a", labels: {}, validFor: "-1h" }, 400],
    ["PUT", "/v1/log-level", { level: secret }, 400],
    ["POST", "/v1/renew", { all: false }, 400],
    ["GET", "/v1/credentials/get", undefined, 405],
    ["GET", "/v2/", undefined, 404],
  ];
  for (const [method, path, body, status] of wrong) {
    const response = await request(node, method, path, body);
    strictEqual(response.status, status, `${method} ${path} ${JSON.stringify(response.body)}`);
    strictEqual(typeof response.body.error.message, "string");
    ok(!JSON.stringify(response.body).includes(secret), JSON.stringify(response.body));
  }
  const form = await request(node, "PUT", "/v1/log-level", "level=debug", {
    "content-type": "application/x-www-form-urlencoded",
  });
  strictEqual(form.status, 415);
  const large = JSON.stringify({ ref: "a", labels: { a: "x".repeat(70_000) } });
  strictEqual((await request(node, "PUT", "/v1/credentials", large)).status, 413);
  ok(!agent.log.includes(secret));
});

Deno.test("get, status and explain: query the agent, and work without one", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/shop/app:1`;
  const { dir } = node;
  {
    await using agent = await AgentProcess.start(node);
    const mode = (await Deno.lstat(join(dir, "api.sock"))).mode ?? 0;
    strictEqual(mode & 0o777, 0o600);
    const credential = { form: "basic", username: "ada", password: "only-the-agent-knows" };
    await request(node, "PUT", "/v1/credentials", { ref: image, credential });
    match((await command(["get", image, ...config(node)])).out, /only-the-agent-knows/);
    const explained = await command(["explain", image, ...config(node)]);
    strictEqual(explained.code, 0);
    match(explained.out, /winner {4}labels: the local API/);
    ok(!explained.out.includes("only-the-agent-knows"));
    // Nothing listens on that address: the socket answers.
    const status = ["status", ...config(node)];
    const elsewhere = { NYDUS_AUTH_AGENT_SERVER_ADDRESS: "127.0.0.1:1" };
    strictEqual((await command(status, elsewhere)).code, 0);
    strictEqual((await command([...status, "--api-socket", "off"], elsewhere)).code, 1);
    for (const line of agent.log.trimEnd().split("\n")) match(line, /^\d{4}-\d\d-\d\dT/);
  }
  match((await command(["get", image, ...config(node)])).out, /password: first/);
  match((await command(["explain", image, ...config(node)])).out, /winner {4}docker/);
  strictEqual((await command(["status", ...config(node)])).code, 1);
  const renew = await command(["renew", image, ...config(node)]);
  strictEqual(renew.code, 1);
  match(renew.err, /is it running/);
});

Deno.test("API: gives access to the configured group, and warns about an unknown one", async () => {
  await using node = simNode();
  const { gid } = await Deno.stat(node.dir);
  {
    await using _agent = await AgentProcess.start(node, { api: `group = "${gid}"` });
    const info = await Deno.lstat(join(node.dir, "api.sock"));
    deepStrictEqual([(info.mode ?? 0) & 0o777, info.gid], [0o660, gid]);
  }
  await using agent = await AgentProcess.start(node, { api: 'group = "no-such-group"' });
  await agent.until("the warning", () => agent.log.includes("no-such-group"));
  match(agent.log, /failed to serve the local API/);
});

/** Runs as the unit does: as root without capabilities, with this supplementary group. */
const asTheUnit = (group: string) => [
  ...["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"],
  ...["--groups", group],
];
const FOREIGN = 54_321;

Deno.test({
  name: "API: serves a member of the group when the agent has no capabilities",
  ignore: Deno.uid() !== 0 || !await exists("/usr/bin/setpriv") || !await exists("/usr/bin/curl"),
  async fn() {
    await using node = simNode();
    const socket = join(node.dir, "api.sock");
    const byMember = async (gid: number) => {
      const args = ["-sS", "--unix-socket", socket, "http://localhost/v1/log-level"];
      // Other users cannot enter the folder of the tests.
      const options = { args, uid: 65_534, gid, clearEnv: true, cwd: "/" } as const;
      const { stdout } = await new Deno.Command("/usr/bin/curl", options).output();
      return new TextDecoder().decode(stdout);
    };
    const options = { api: `group = "${FOREIGN}"` };
    {
      await using agent = await AgentProcess.start(node, { ...options, by: asTheUnit("1") });
      await agent.until("the warning", () => agent.log.includes("failed to serve the local API"));
      match(agent.log, /change its group to 54321: .* add it to SupplementaryGroups= of the unit/);
    }
    const by = asTheUnit(String(FOREIGN));
    {
      await using agent = await AgentProcess.start(node, { ...options, by });
      await agent.until("the warning", () => agent.log.includes("cannot enter"));
      ok(agent.log.includes(`cannot enter ${node.dir}; `), agent.log);
      strictEqual(await byMember(FOREIGN), "", "the folder is not accessible");
    }
    await Deno.chmod(node.dir, 0o711);
    await using agent = await AgentProcess.start(node, { ...options, by });
    ok(!agent.log.includes("cannot enter"), agent.log);
    deepStrictEqual(JSON.parse(await byMember(FOREIGN)), { level: "debug" });
    strictEqual(await byMember(FOREIGN + 1), "", "other users have no access");
  },
});

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

Deno.test("API: serves an OpenAPI document with every route", async () => {
  await using node = simNode();
  await using _agent = await AgentProcess.start(node);
  const { status, body } = await request(node, "GET", "/v1/openapi.json");
  strictEqual(status, 200);
  strictEqual(body.openapi, "3.1.0");
  for (const [path, methods] of Object.entries(body.paths)) {
    for (const method of Object.keys(methods as object)) {
      const response = await request(
        node,
        method.toUpperCase(),
        path,
        method === "get" ? undefined : {},
      );
      ok(response.status !== 404 && response.status !== 405, `${method} ${path}`);
    }
  }
});
