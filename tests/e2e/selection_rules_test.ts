/**
 * Candidate selection: several credentials match, and the registry decides which one works. The agent
 * runs as a process on the simulated node, whose registries record every request.
 */
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import type { SimNode, SimRegistry } from "../../lib/simulator/mod.ts";
import { HAS_OPENSSL } from "../fakes/certificates.ts";
import { kubeApi, NODE, putPod, putSecret, writeKubeconfig } from "./kube_stage.ts";
import { AgentProcess, command, keepReading, pause, simNode } from "./stage.ts";

const LONG = 'check_interval = "1h"\nrefresh_interval = "1h"';

/** Writes docker's configuration without changing the registries. */
function dockerConfig(node: SimNode, pairs: Readonly<Record<string, string>>): void {
  const auths = Object.fromEntries(
    Object.entries(pairs).map(([host, pair]) => [host, { auth: btoa(pair) }]),
  );
  const path = node.dockerConfigPath;
  Deno.writeTextFileSync(`${path}.new`, JSON.stringify({ auths }), { mode: 0o600 });
  Deno.renameSync(`${path}.new`, path);
}

/** Returns the number of probes of a pair: reads only request blobs. */
function probes(registry: SimRegistry, pair?: string): number {
  return registry.seen.filter(({ what, auth }) =>
    what === "manifest" && auth !== "" && (pair === undefined || auth === btoa(pair))
  ).length;
}

for (const login of ["basic", "bearer"] as const) {
  Deno.test(`selection: uses the plugin's token when docker's password is rejected (${login})`, async () => {
    await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
    const registry = node.tokenRegistry;
    registry.settings.login = login;
    registry.settings.dialect = login === "basic" ? "ecr" : "hub";
    const image = `${registry.host}/shop/app:1`;
    const bad = "robot:wrong";
    dockerConfig(node, { [registry.host]: bad });
    await node.addDaemon({
      id: "d1",
      mode: "dedicated",
      images: [image],
      pair: bad,
      version: "2.4.1",
    });
    await using agent = await AgentProcess.start(node, { renewal: LONG });
    await using reading = keepReading(node);
    await agent.until("reads to succeed", reading.lastOk);
    const [status] = (await agent.status()).images;
    strictEqual(status?.provider, "kubelet");
    match(status?.selectionReason ?? "", /the registry accepts it; .*auths entry .*: refused/);
    match(agent.log, /candidate-selected/);
    doesNotMatch(agent.log, /wrong|tok-\d/);
    const probed = agent.log.match(/registry-probed/g)?.length ?? 0;
    await pause(4_000);
    strictEqual(agent.log.match(/registry-probed/g)?.length, probed, "no further probes");
  });
}

Deno.test("selection: a changed password that the registry rejects does not replace one that works", async () => {
  await using node = simNode();
  const registry = node.passwordRegistry;
  registry.settings.dialect = "ecr";
  const image = `${registry.host}/base/os:1`;
  const daemon = await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [image],
    version: "2.4.1",
  });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  await using reading = keepReading(node);
  await agent.until("reads", reading.lastOk);
  dockerConfig(node, { [registry.host]: "robot:second" }); // before the registry knows it
  await agent.until("the refusal", () => agent.log.includes("registry-refused"));
  await pause(500);
  strictEqual(await daemon.currentAuth("/"), "robot:first");
  ok(reading.lastOk(), "reads fail");
  const [status] = (await agent.status()).images;
  strictEqual(status?.lastFailure?.reason, "registry-refused");
  match(status?.lastFailure?.detail ?? "", /authorization token has expired/);
  strictEqual(probes(registry, "robot:second"), 2); // HEAD, and GET for the error text
  // Now it accepts it and revokes the old one: failing reads cause another probe.
  registry.accept("robot", "second");
  registry.revoke("robot", "first");
  await agent.until("the new one", async () => await daemon.currentAuth("/") === "robot:second");
  await agent.until("reads to succeed", reading.lastOk);
});

Deno.test("selection: keeps the credential in use over a restart of the agent after a bad change", async () => {
  await using node = simNode();
  const { host } = node.passwordRegistry;
  const daemon = await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [`${host}/base/os:1`],
  });
  dockerConfig(node, { [host]: "robot:wrong" });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  await agent.until("the adoption", async () => {
    return (await agent.status()).daemons[0]?.instances[0]?.delivery === "adopted";
  });
  strictEqual(await daemon.currentAuth("/"), "robot:first");
});

Deno.test("selection: probes each changed candidate once, regardless of the number of mounts", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1s", lifetimeMs: 3_000 } });
  const { host } = node.passwordRegistry;
  const images = ["team/a:1", "team/a:2", "team/b:1"].map((name) => `${host}/${name}`);
  await node.addDaemon({ id: "s1", mode: "shared", images: [...images, ...images] });
  await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [`${node.tokenRegistry.host}/shop/app:1`],
  });
  await using agent = await AgentProcess.start(node);
  strictEqual(probes(node.passwordRegistry), 0, "nothing had changed");
  for (const password of ["second", "third"]) {
    node.rotatePassword(password);
    await agent.until(`the password ${password}`, async () => {
      const daemon = node.daemons.get("s1");
      const currentAuth = await Promise.all(
        (daemon?.instances ?? []).map(({ mountId }) => daemon?.currentAuth(mountId)),
      );
      return currentAuth.every((pair) => pair === `robot:${password}`);
    });
  }
  await pause(2_000); // reconciles every half second
  deepStrictEqual(
    ["first", "second", "third"].map((word) => probes(node.passwordRegistry, `robot:${word}`)),
    [0, 2, 2], // two repositories
  );
  ok(node.pluginExecutions() > 2);
  strictEqual(probes(node.tokenRegistry), 0, "a new token is not a change");
  const page = (await agent.get("/metrics")).body;
  match(page, /nydus_auth_agent_registry_probes_total\{verdict="accepted"\} 4/);
});

Deno.test("selection: with verify never probes no registry, and tries the next candidate after a rejection", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
  const registry = node.tokenRegistry;
  const image = `${registry.host}/shop/app:1`;
  dockerConfig(node, { [registry.host]: "robot:wrong" });
  await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [image],
    pair: "robot:wrong",
    version: "2.4.1",
  });
  await using agent = await AgentProcess.start(node, {
    renewal: LONG,
    more: '[delivery]\nverify = "never"',
  });
  await using reading = keepReading(node);
  await agent.until("reads to succeed", reading.lastOk);
  strictEqual(registry.seen.filter(({ what }) => what !== "blob").length, 0);
  strictEqual((await agent.status()).images[0]?.provider, "kubelet");
});

Deno.test({
  name: "selection: delivers the second of two pull secrets when the first is rejected",
  ignore: !HAS_OPENSSL,
  async fn() {
    await using api = await kubeApi();
    await using node = simNode();
    const registry = node.passwordRegistry;
    registry.settings.login = "bearer";
    registry.settings.dialect = "hub";
    dockerConfig(node, {});
    putSecret(api, "a-first", registry.host, "revoked");
    putSecret(api, "b-second", registry.host, "good");
    registry.accept("robot", "good");
    putPod(api, "app", { secrets: ["a-first", "b-second"] });
    const daemon = await node.addDaemon({
      id: "d1",
      mode: "dedicated",
      images: [`${registry.host}/library/nginx:1`],
      pair: "robot:stale",
    });
    const kubeconfig = await writeKubeconfig(node.dir, api);
    await using agent = await AgentProcess.start(node, {
      renewal: LONG,
      more: "[providers.kubesecret]\nenabled = true\n" +
        `kubeconfig = "${kubeconfig}"\nnode_name = "${NODE}"`,
    });
    await agent.until("the second", async () => await daemon.currentAuth("/") === "robot:good");
    const brought = registry.seen.filter(({ what }) => what === "token").map(({ auth }) => auth);
    deepStrictEqual(brought, [btoa("robot:revoked"), btoa("robot:good")]);
    match((await agent.status()).images[0]?.selectionReason ?? "", /a-first.*: refused/);
  },
});

Deno.test("check --probe: explains the verdict on each credential", async () => {
  await using node = simNode();
  const registry = node.passwordRegistry;
  registry.settings.login = "bearer";
  const image = `${registry.host}/base/os:1`;
  const check = () =>
    command([
      "check",
      "--probe",
      image,
      "--snapshotter-config",
      "off",
      "--docker-config",
      node.dockerConfigPath,
    ]);
  const good = await check();
  strictEqual(good.code, 0, good.err);
  match(good.out, /^ok: probe with none: refused .*the image is not public/m);
  match(
    good.out,
    /^ok: probe with docker: accepted \(.*auths entry .* the registry serves the image/m,
  );
  registry.forbid("robot", "base/os");
  const forbidden = await check();
  strictEqual(forbidden.code, 2);
  match(forbidden.out, /^warning: probe with docker: forbidden .*not for pulling this repository/m);
  match(forbidden.err, /^error: .*the registry serves it for none of the credentials/m);
  dockerConfig(node, { [registry.host]: "robot:hunter2" });
  const refused = await check();
  match(refused.out, /^warning: probe with docker: refused .*it is wrong, or has expired/m);
  ok(!`${refused.out}${refused.err}`.includes("hunter2"));
  strictEqual((await command(["check", "--probe", "registry.example.com/UPPER"])).code, 2);
});

Deno.test("check: names environment variables that improve the defaults of a cloud plugin", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const config = (env: string) =>
      `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: auth-provider-gcp
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["*.pkg.dev"]
  defaultCacheDuration: "1m"
  env: [${env}]
`;
    const path = `${folder}/providers.yaml`;
    await Deno.writeTextFile(`${folder}/auth-provider-gcp`, "#!/bin/sh\n", { mode: 0o755 });
    const check = async (env: string) => {
      await Deno.writeTextFile(path, config(env));
      const plugins = ["--credential-provider-config", path, "--credential-provider-bin-dir"];
      const ended = await command(["check", "--snapshotter-config", "off", ...plugins, folder]);
      strictEqual(ended.code, 0, ended.err);
      return ended.out;
    };
    const bare = await check("");
    match(bare, /providers\[0\]\.env: .*every image.*set KUBE_SIDECAR_CACHE_TYPE to registry/);
    match(bare, /set KUBE_SIDECAR_CACHE_DURATION to 4m/);
    const fixed = await check(
      '{name: KUBE_SIDECAR_CACHE_TYPE, value: "registry"}, ' +
        '{name: KUBE_SIDECAR_CACHE_DURATION, value: "10m"}',
    );
    doesNotMatch(fixed, /KUBE_SIDECAR/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
