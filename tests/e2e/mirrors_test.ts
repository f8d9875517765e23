import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type SimBackend, SimNode, SimRegistry } from "../../lib/simulator/mod.ts";
import { type AgentOptions, AgentProcess, command, pause, simNode } from "./stage.ts";

const HUB = "index.docker.io";
const NGINX = "docker.io/library/nginx:1";
const QUICK = 'check_interval = "300ms"\nrefresh_interval = "5s"';

/** Registries that record every credential that they receive, in addition to those of the node. */
class Registries implements AsyncDisposable {
  /** The image's own registry. */
  readonly origin = new SimRegistry();
  /** A mirror with an entry of its own. */
  readonly keyed = new SimRegistry();
  /** A mirror without an entry: it accepts the credential of the origin. */
  readonly keyless = new SimRegistry();
  /** An unapproved host. */
  readonly foreign = new SimRegistry();
  /** Docker Hub. */
  readonly hub = new SimRegistry();
  /** The proxy of an old daemon, approved by the snapshotter's template. */
  readonly proxy = new SimRegistry();

  get all(): readonly SimRegistry[] {
    return [this.origin, this.keyed, this.keyless, this.foreign, this.hub, this.proxy];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const registry of this.all) await registry[Symbol.asyncDispose]();
  }
}

interface Row {
  readonly id: string;
  readonly image: string;
  readonly backend: SimBackend;
  /** The registry that should receive the credential. */
  readonly registry: SimRegistry;
  /** The expected credential of a generation; undefined for none. */
  readonly pair: (generation: string) => string | undefined;
}

/** Sets what every provider returns, and what every registry accepts. */
function setGeneration(node: SimNode, registries: Registries, generation: string): void {
  const { origin, keyed, keyless, hub, proxy, foreign } = registries;
  node.setDockerAuth(origin.host, `origin:${generation}`);
  node.setDockerAuth(keyed.host, `keyed:${generation}`);
  node.setDockerAuth(`https://${HUB}/v1/`, `hub:${generation}`);
  for (const registry of [origin, keyless, proxy, foreign]) {
    registry.accept("origin", generation);
  }
  keyed.accept("keyed", generation);
  hub.accept("hub", generation);
}

function rows(node: SimNode, registries: Registries): readonly Row[] {
  const { origin, keyed, keyless, foreign, hub, proxy } = registries;
  const image = `${origin.host}/shop/app:1`;
  const own = (generation: string) => `origin:${generation}`;
  const row = (
    id: string,
    registry: SimRegistry,
    pair: Row["pair"],
    backend: SimBackend,
    other = image,
  ): Row => ({ id, image: other, backend, registry, pair });
  return [
    row("direct", origin, own, {}),
    row("keyed", keyed, (generation) => `keyed:${generation}`, { host: keyed.host }),
    row("keyless", keyless, own, { host: keyless.host }),
    row("foreign", foreign, () => undefined, { host: foreign.host }),
    row("hub", hub, (generation) => `hub:${generation}`, { host: HUB }, NGINX),
    row("old", keyless, own, { mirrors: [`http://${keyless.host}`] }),
    row("proxied", proxy, own, { proxyUrl: `http://${proxy.host}` }),
    row("cached", node.tokenRegistry, () => node.tokenRegistry.newestToken(), {
      host: node.tokenRegistry.host,
      repo: "hub/library/nginx",
    }, NGINX),
  ];
}

interface Stage extends AsyncDisposable {
  readonly node: SimNode;
  readonly registries: Registries;
  readonly matrix: readonly Row[];
}

/** Creates a node with one daemon per row, or for some rows, without a credential yet. */
async function stage(...ids: readonly string[]): Promise<Stage> {
  const registries = new Registries();
  const hosts = { [HUB]: registries.hub.host };
  const node = simNode({ hosts, plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
  const { origin, keyed, keyless, proxy } = registries;
  node.setPlugin({ pattern: `${node.tokenRegistry.host}/hub` });
  node.setMirrors(origin.host, [`http://${keyed.host}`, `http://${keyless.host}`]);
  const config = { proxy: { url: `http://${proxy.host}` } };
  const template = { device: { backend: { type: "registry", config } } };
  await Deno.writeTextFile(node.daemonTemplatePath, JSON.stringify(template));
  setGeneration(node, registries, "one");
  const matrix = rows(node, registries).filter(({ id }) => ids.length === 0 || ids.includes(id));
  for (const { id, image, backend } of matrix) {
    // 2.4.1 uses a new value at the next read.
    const version = "2.4.1";
    await node.addDaemon({ id, mode: "dedicated", images: [image], pair: "", backend, version });
  }
  return {
    node,
    registries,
    matrix,
    async [Symbol.asyncDispose]() {
      await node[Symbol.asyncDispose]();
      await registries[Symbol.asyncDispose]();
    },
  };
}

/** Docker Hub is on loopback only for the daemons: the agent's probes must not leave the machine. */
const LOOPBACK_ONLY = { HTTP_PROXY: "http://127.0.0.1:9", NO_PROXY: "127.0.0.1,localhost" };

async function start(node: SimNode, options: AgentOptions): Promise<AgentProcess> {
  return await AgentProcess.start(node, { renewal: QUICK, env: LOOPBACK_ONLY, ...options });
}

/** Waits until every mount has the credential of its row, and reads with it. */
async function untilDelivered({ node, matrix }: Stage, agent: AgentProcess, generation: string) {
  for (const { id, pair } of matrix) {
    const currentAuth = () => node.daemons.get(id)?.currentAuth("/");
    await agent.until(
      `the credential of ${id}`,
      async () => await currentAuth() === (pair(generation) ?? ""),
    );
  }
  await node.readAll();
}

/** A token that the registry's own service has issued. */
const OWN_TOKEN = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Returns every credential that a registry or its token service received, decoded. */
function received(registry: SimRegistry): ReadonlySet<string> {
  const auths = registry.seen.map(({ auth }) => auth);
  return new Set(auths.filter((auth) => auth !== "" && !OWN_TOKEN.test(auth)).map(atob));
}

for (const login of ["basic", "bearer"] as const) {
  Deno.test(`delivery: sends no credential to a registry that it is not for (${login})`, async () => {
    await showsNoCrossing(login);
  });
}

/** Probes send credentials too: each changed password is probed. */
async function showsNoCrossing(login: "basic" | "bearer"): Promise<void> {
  await using it = await stage();
  const { node, registries, matrix } = it;
  for (const registry of [...registries.all, node.tokenRegistry]) registry.settings.login = login;
  const more = '[delivery]\nunapproved_hosts = "refuse"';
  await using agent = await start(node, { more });
  await untilDelivered(it, agent, "one");
  setGeneration(node, registries, "two");
  await untilDelivered(it, agent, "two");
  for (const { id, registry, pair } of matrix) {
    const allowed = matrix.filter((row) => row.registry === registry)
      .flatMap((row) => [row.pair("one"), row.pair("two")]).filter((one) => one !== undefined);
    const seen = [...received(registry)];
    deepStrictEqual(seen.filter((one) => !allowed.includes(one)), [], `crossings at ${id}`);
    strictEqual(seen.length > 0, pair("two") !== undefined, `${id} was shown its own, or nothing`);
  }
  const reads = await node.readAll();
  deepStrictEqual(reads.filter(({ ok }) => !ok).map(({ daemonId }) => daemonId), ["foreign"]);
  ok(
    node.pluginImages().every((image) =>
      image === `${node.tokenRegistry.host}/hub/library/nginx:1`
    ),
    "the plugin is executed for the repository that nydusd reads from",
  );
  const probed = registries.all.filter(({ seen }) => seen.some(({ what }) => what === "manifest"));
  ok(probed.includes(registries.keyed) && probed.includes(registries.origin), "probes are in it");
}

Deno.test("unknown_hosts refuse: withholds the credential from an unapproved host until it is approved", async () => {
  await using it = await stage("direct", "foreign");
  const { node, registries: { foreign } } = it;
  const more = '[delivery]\nunapproved_hosts = "refuse"';
  await using agent = await start(node, { more });
  await untilDelivered(it, agent, "one");
  const mount = async () =>
    (await agent.status()).daemons.find(({ id }) => id === "foreign")?.instances[0];
  await agent.until("it to be withheld", async () => (await mount())?.delivery === "withheld");
  deepStrictEqual((await mount())?.unapprovedHosts, [foreign.host]);
  const metrics = (await agent.get("/metrics")).body;
  ok(metrics.includes('nydus_auth_agent_unapproved_hosts_total{action="withheld"} 1'), metrics);
  ok(metrics.includes('nydus_auth_agent_unapproved_hosts_total{action="delivered"} 0'), metrics);
  ok((await agent.get("/readyz?verbose")).body.includes(foreign.host));
  strictEqual(agent.log.split(" unapproved-host: ").length - 1, 1, "it is logged once");
  strictEqual(received(foreign).size, 0);
  // The operator names it, in the folder that the snapshotter reads.
  node.setMirrors("_default", [`http://${foreign.host}`]);
  await agent.until("it to be stored", async () => (await mount())?.delivery !== "withheld");
  await agent.until(
    "it to hold it",
    async () => await node.daemons.get("foreign")?.currentAuth("/") === "origin:one",
  );
  strictEqual((await mount())?.unapprovedHosts, undefined);
  ok((await mount())?.hostApprovedBy?.includes("_default"));
});

Deno.test("delivery: by default warns once about an unapproved host, and counts it", async () => {
  await using it = await stage("direct", "foreign");
  const { node, registries: { foreign } } = it;
  await using agent = await start(node, {});
  const currentAuth = () => node.daemons.get("foreign")?.currentAuth("/");
  await agent.until("it to be delivered", async () => await currentAuth() === "origin:one");
  await pause(1_000); // several reconciles
  strictEqual(agent.log.split(" unapproved-host: ").length - 1, 1);
  const metrics = (await agent.get("/metrics")).body;
  ok(metrics.includes('nydus_auth_agent_unapproved_hosts_total{action="delivered"} 1'), metrics);
  ok((await agent.get("/readyz?verbose")).body.includes(foreign.host));
});

Deno.test("allowed_hosts: approves a host, and explain prints the approval of each host", async () => {
  await using it = await stage("keyed", "foreign");
  const { node, registries: { foreign, keyed, origin } } = it;
  const more = `[delivery]\nunapproved_hosts = "refuse"\nallowed_hosts = ["${foreign.host}"]`;
  await using agent = await start(node, { more });
  const currentAuth = () => node.daemons.get("foreign")?.currentAuth("/");
  await agent.until("it to be delivered", async () => await currentAuth() === "origin:one");
  ok((await agent.get("/metrics")).body.includes('unapproved_hosts_total{action="delivered"} 0'));
  const args = ["explain", "--config", `${node.dir}/agent.toml`, `${origin.host}/shop/app:1`];
  const { out, err, code } = await command(args);
  strictEqual(code, 0, err);
  ok(out.includes(`${keyed.host}/shop/app:1`), out);
  ok(out.includes("hosts.toml"), out);
  ok(out.includes("delivery.allowed_hosts"), out);
  ok(!out.includes("keyed:one") && !out.includes(btoa("keyed:one")), "explain shows no secret");
});
