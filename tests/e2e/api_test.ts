import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, command, simNode } from "./stage.ts";

const NEVER = 'check_interval = "1h"\nrefresh_interval = "1h"';

interface Answer {
  readonly status: number;
  // deno-lint-ignore no-explicit-any -- each test knows what it asked for
  readonly body: any;
}

/** One request over the agent's socket. */
async function ask(
  node: SimNode,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = { "content-type": "application/json" },
): Promise<Answer> {
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

Deno.test("api: what is put reaches the image's mounts, goes first, and is forgotten", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  await using agent = await AgentProcess.start(node, { renewal: NEVER });
  const daemon = node.daemons.get("d1");
  const currentAuth = () => daemon?.currentAuth(daemon.instances[0]?.mountId ?? "");
  await agent.until("docker's", async () => await currentAuth() === "robot:first");

  const credential = { form: "basic", username: "ada", password: "put-by-hand" };
  // The registry is asked, because a person set another: what it refuses is not delivered.
  node.passwordRegistry.accept("ada", "put-by-hand");
  const put = await ask(node, "PUT", "/v1/credentials", { ref: image, credential, validFor: "1h" });
  strictEqual(put.status, 200, JSON.stringify(put.body));
  deepStrictEqual([put.body.ref, put.body.username, put.body.form], [image, "ada", "basic"]);
  ok(Date.parse(put.body.validUntil) > Date.now());
  await agent.until("what was put", async () => await currentAuth() === "ada:put-by-hand");
  const got = await ask(node, "POST", "/v1/credentials/get", { ref: image });
  deepStrictEqual(got.body.credential, credential);
  strictEqual(got.body.provider, "labels");
  const list = await ask(node, "GET", "/v1/credentials");
  strictEqual(list.body.credentials.length, 1);
  ok(!JSON.stringify(list.body).includes("put-by-hand"), "a list tells no secret");

  const gone = await ask(node, "DELETE", "/v1/credentials", { ref: image });
  deepStrictEqual(gone.body, { forgotten: true });
  await agent.until("docker's again", async () => await currentAuth() === "robot:first");
  const twice = await ask(node, "DELETE", "/v1/credentials", { ref: image });
  deepStrictEqual(twice.body, { forgotten: false });
  ok(!agent.log.includes("put-by-hand"));
});

Deno.test("api: pull labels count like a credential, and an end that has come ends it", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/shop/app:1`;
  await using agent = await AgentProcess.start(node);
  const labels = {
    "containerd.io/snapshot/pullusername": "ada",
    "containerd.io/snapshot/pullsecret": "of-a-label",
  };
  const { status } = await ask(node, "PUT", "/v1/credentials", {
    ref: image,
    labels,
    validFor: "1s",
  });
  strictEqual(status, 200);
  const username = async () =>
    (await ask(node, "POST", "/v1/credentials/get", { ref: image })).body.credential?.username;
  strictEqual(await username(), "ada");
  await agent.until("its end", async () => await username() === "robot");
  const alone = { "containerd.io/snapshot/pullusername": "ada" };
  const half = await ask(node, "PUT", "/v1/credentials", { ref: image, labels: alone });
  deepStrictEqual([half.status, half.body.error.code], [400, "usage"]);
});

Deno.test("api: a reported refusal costs one execution, and only if it is the current one", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  for (const id of ["d1", "d2", "d3"]) {
    await node.addDaemon({ id, mode: "dedicated", images: [image] });
  }
  await using agent = await AgentProcess.start(node, { renewal: NEVER });
  const current = async () =>
    (await ask(node, "POST", "/v1/credentials/get", { ref: image })).body.fingerprint;
  const before = await current();
  const executions = node.pluginExecutions();
  const wrong = await ask(node, "POST", "/v1/refused", { ref: image, fingerprint: "0123abcd" });
  deepStrictEqual(wrong.body, { outcome: "not-current" });
  const report = () => ask(node, "POST", "/v1/refused", { ref: image, fingerprint: before });
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
  strictEqual(node.pluginExecutions() - executions, 1, "three mounts, one execution");
});

Deno.test("api: a refusal that the source cannot mend is not asked about again at once", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/shop/app:1`;
  await using _agent = await AgentProcess.start(node, { renewal: NEVER });
  const { body } = await ask(node, "POST", "/v1/credentials/get", { ref: image });
  const { fingerprint } = body;
  const report = async () =>
    (await ask(node, "POST", "/v1/refused", { ref: image, fingerprint })).body.outcome;
  deepStrictEqual([await report(), await report()], ["requested", "backing-off"]);
});

Deno.test("api: renew asks past caches, and past a backoff", async () => {
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
  match(again.out, /another credential/);

  // "Nothing for this image" is an answer that is remembered, for seconds: renew drops it.
  const other = `${host}/shop/other:1`;
  node.setPlugin({ mode: "none", cacheDuration: "1h" });
  const none = await command(["renew", other, ...config(node)]);
  strictEqual(none.code, 0);
  match(none.out, /no source has one/);
  node.setPlugin({ mode: "issue" });
  match((await command(["renew", other, ...config(node)])).out, /another credential/);
  strictEqual((await command(["get", other, ...config(node)])).code, 0);
  strictEqual((await command(["renew", ...config(node)])).code, 2, "neither an image nor --all");
  strictEqual((await command(["renew", "UPPER//", ...config(node)])).code, 2);
});

Deno.test("api: the level of the log is changed while the agent runs", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node, { renewal: 'check_interval = "100ms"' });
  const set = await command(["log-level", "set", "error", ...config(node)]);
  deepStrictEqual([set.code, set.out], [0, "error\n"]);
  const length = agent.log.length;
  const { status } = await ask(node, "POST", "/v1/reconcile");
  strictEqual(status, 200);
  strictEqual((await command(["log-level", "get", ...config(node)])).out, "error\n");
  strictEqual(agent.log.length, length, "nothing below it is written");
  await command(["log-level", "set", "debug", ...config(node)]);
  await agent.until("lines again", () => agent.log.length > length);
  const wrong = await command(["log-level", "set", "loud", ...config(node)]);
  strictEqual(wrong.code, 2);
  match(wrong.err, /debug, info, warning, error/);
});

Deno.test("api: what makes no sense is refused in one shape, and without the secret", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node);
  const secret = "s3cret-in-a-wrong-place";
  const wrong: readonly [string, string, unknown, number][] = [
    ["POST", "/v1/credentials/get", `{"ref": "${secret}`, 400],
    ["POST", "/v1/credentials/get", { ref: "a", registry: "b.example.com" }, 400],
    ["POST", "/v1/credentials/get", { ref: 7 }, 400],
    ["POST", "/v1/credentials/get", { ref: "UPPER//CASE" }, 400],
    ["POST", "/v1/credentials/get", { ref: "nobody.example.com/a" }, 404],
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
    const answer = await ask(node, method, path, body);
    strictEqual(answer.status, status, `${method} ${path} ${JSON.stringify(answer.body)}`);
    strictEqual(typeof answer.body.error.message, "string");
    ok(!JSON.stringify(answer.body).includes(secret), JSON.stringify(answer.body));
  }
  const form = await ask(node, "PUT", "/v1/log-level", "level=debug", {
    "content-type": "application/x-www-form-urlencoded",
  });
  strictEqual(form.status, 415);
  const large = JSON.stringify({ ref: "a", labels: { a: "x".repeat(70_000) } });
  strictEqual((await ask(node, "PUT", "/v1/credentials", large)).status, 413);
  ok(!agent.log.includes(secret));
});

Deno.test("api: get, status and explain ask the agent, and do without one", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/shop/app:1`;
  const { dir } = node;
  {
    await using agent = await AgentProcess.start(node);
    const mode = (await Deno.lstat(join(dir, "api.sock"))).mode ?? 0;
    strictEqual(mode & 0o777, 0o600);
    const credential = { form: "basic", username: "ada", password: "only-the-agent-knows" };
    await ask(node, "PUT", "/v1/credentials", { ref: image, credential });
    match((await command(["get", image, ...config(node)])).out, /only-the-agent-knows/);
    const explained = await command(["explain", image, ...config(node)]);
    strictEqual(explained.code, 0);
    match(explained.out, /winner {4}labels: the local API/);
    ok(!explained.out.includes("only-the-agent-knows"));
    // Nobody is at that address: the socket has answered.
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

Deno.test("api: a group may be let in, and off means off", async () => {
  await using node = simNode();
  const { gid } = await Deno.stat(node.dir);
  {
    await using _agent = await AgentProcess.start(node, { api: `group = "${gid}"` });
    const info = await Deno.lstat(join(node.dir, "api.sock"));
    deepStrictEqual([(info.mode ?? 0) & 0o777, info.gid], [0o660, gid]);
  }
  await using agent = await AgentProcess.start(node, { api: 'group = "no-such-group"' });
  await agent.until("the warning", () => agent.log.includes("no-such-group"));
  match(agent.log, /the local API is not served/);
});

/** As the unit runs it: root without capabilities, in this group beside its own. */
const asTheUnit = (group: string) => [
  ...["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"],
  ...["--groups", group],
];
const FOREIGN = 54_321;

Deno.test({
  name: "api: a member of the group asks an agent that has no capability and is in the group",
  ignore: Deno.uid() !== 0 || !await exists("/usr/bin/setpriv") || !await exists("/usr/bin/curl"),
  async fn() {
    await using node = simNode();
    const socket = join(node.dir, "api.sock");
    const byMember = async (gid: number) => {
      const args = ["-sS", "--unix-socket", socket, "http://localhost/v1/log-level"];
      // Nobody else may enter the folder that the tests are run from.
      const options = { args, uid: 65_534, gid, clearEnv: true, cwd: "/" } as const;
      const { stdout } = await new Deno.Command("/usr/bin/curl", options).output();
      return new TextDecoder().decode(stdout);
    };
    const options = { api: `group = "${FOREIGN}"` };
    {
      await using agent = await AgentProcess.start(node, { ...options, by: asTheUnit("1") });
      await agent.until("the warning", () => agent.log.includes("the local API is not served"));
      match(agent.log, /given to group 54321, .* add it to SupplementaryGroups= of the unit/);
    }
    const by = asTheUnit(String(FOREIGN));
    {
      await using agent = await AgentProcess.start(node, { ...options, by });
      await agent.until("the warning", () => agent.log.includes("cannot enter"));
      ok(agent.log.includes(`cannot enter ${node.dir}; `), agent.log);
      strictEqual(await byMember(FOREIGN), "", "the folder is in the way");
    }
    await Deno.chmod(node.dir, 0o711);
    await using agent = await AgentProcess.start(node, { ...options, by });
    ok(!agent.log.includes("cannot enter"), agent.log);
    deepStrictEqual(JSON.parse(await byMember(FOREIGN)), { level: "debug" });
    strictEqual(await byMember(FOREIGN + 1), "", "who is no member may not ask");
  },
});

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

Deno.test("api: the document is of every route, and is served", async () => {
  await using node = simNode();
  await using _agent = await AgentProcess.start(node);
  const { status, body } = await ask(node, "GET", "/v1/openapi.json");
  strictEqual(status, 200);
  strictEqual(body.openapi, "3.1.0");
  for (const [path, methods] of Object.entries(body.paths)) {
    for (const method of Object.keys(methods as object)) {
      const answer = await ask(node, method.toUpperCase(), path, method === "get" ? undefined : {});
      ok(answer.status !== 404 && answer.status !== 405, `${method} ${path}`);
    }
  }
});
