// deno-lint-ignore-file no-sync-fn-in-async-fn
/** Invalid input causes one clear error and exit code 2, or a failure of only one part. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import type { ImageStatus } from "../../lib/model/mod.ts";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, command, simNode } from "./stage.ts";

const passwordImage = (node: SimNode) => `${node.passwordRegistry.host}/base/os:1`;
const tokenImage = (node: SimNode) => `${node.tokenRegistry.host}/shop/app:1`;

function folder(): { readonly path: string } & Disposable {
  const path = Deno.makeTempDirSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

const BAD_CONFIGS: readonly (readonly [what: string, text: string | Uint8Array, error: RegExp])[] =
  [
    ["broken TOML", '[renewal]\ncheck_interval = "1m', /line 2/],
    ["an unknown key", '[renewal]\ncheck_intervall = "1m"\n', /check_intervall.*check_interval/s],
    ["a wrong type", "[renewal]\ncheck_interval = 60\n", /renewal\.check_interval/],
    ["a bad duration", '[renewal]\nlead_time = "later"\n', /renewal\.lead_time/],
    ["a binary file", new Uint8Array([0, 1, 2, 0xff, 0xfe, 0]), /config\.toml/],
  ];

for (const [what, text, error] of BAD_CONFIGS) {
  Deno.test(`check, run: reject ${what} with its location and exit code 2`, async () => {
    using dir = folder();
    const path = join(dir.path, "config.toml");
    if (typeof text === "string") Deno.writeTextFileSync(path, text);
    else Deno.writeFileSync(path, text);
    for (const name of ["check", "run"]) {
      const { code, out, err } = await command([name, "--config", path]);
      deepStrictEqual([code, out], [2, ""], err);
      match(err, error);
      ok(err.includes(path), err);
    }
  });
}

Deno.test("check: rejects a missing --config file, and accepts an empty one", async () => {
  using dir = folder();
  const path = join(dir.path, "config.toml");
  strictEqual((await command(["check", "--config", path])).code, 2);
  Deno.writeTextFileSync(path, "");
  const { code, err } = await command(["check", "--config", path, "--snapshotter-config", "off"]);
  strictEqual(code, 0, err);
});

Deno.test("check: reports file and location of an invalid provider and docker configuration", async () => {
  await using node = simNode();
  const args = [
    "check",
    "--snapshotter-config",
    node.snapshotterConfigPath,
    "--docker-config",
    node.dockerConfigPath,
  ];
  strictEqual((await command(args)).code, 0);
  const good = Deno.readTextFileSync(node.providerConfigPath);
  Deno.writeTextFileSync(node.providerConfigPath, good.replace("12h", "later"));
  Deno.writeTextFileSync(node.dockerConfigPath, '{"auths": {"r": {"auth": "c2VjcmV0LXdvcmQ="}}}');
  const { code, err } = await command(args);
  strictEqual(code, 2);
  match(err, /providers\.yaml: providers\[0\]\.defaultCacheDuration/);
  match(err, /config\.json/);
  ok(!err.includes("c2VjcmV0LXdvcmQ") && !err.includes("secret-word"), "the secret is quoted");
  Deno.writeTextFileSync(node.providerConfigPath, "providers:\n-\tname: x\n");
  match((await command(args)).err, /providers\.yaml: line 2/);
});

const BAD_PLUGINS: readonly (readonly [mode: string, reason: string])[] = [
  ["fail", "plugin-failed"],
  ["hang", "plugin-timeout"],
  ["stubborn", "plugin-timeout"],
  ["garbage", "plugin-invalid-response"],
  ["flood", "plugin-too-much-output"],
  ["missing", "plugin-missing"],
  ["not-executable", "plugin-not-executable"],
];

for (const [mode, reason] of BAD_PLUGINS) {
  Deno.test(`kubelet provider: reports ${reason} for a plugin in mode ${mode}, and docker keeps working`, async () => {
    await using node = simNode();
    const plugin = join(node.dir, "bin", "sim-credential-provider");
    await node.addDaemon({ id: "d1", mode: "dedicated", images: [tokenImage(node)] });
    await node.addDaemon({ id: "d2", mode: "dedicated", images: [passwordImage(node)] });
    const currentAuth = await node.daemons.get("d1")?.currentAuth("/");
    if (mode === "missing") Deno.removeSync(plugin);
    else if (mode === "not-executable") Deno.chmodSync(plugin, 0o644);
    else node.setPlugin({ mode: mode as "fail" });
    await using agent = await AgentProcess.start(node, {
      more: '[providers.kubelet]\ntimeout = "1s"',
    }, { waitReady: false });
    const failure = (images: readonly ImageStatus[]) =>
      images.find(({ image }) => image === tokenImage(node))?.lastFailure?.reason;
    await agent.until(reason, async () => {
      const { status, body } = await agent.get("/v1/status");
      return status === 200 && failure(JSON.parse(body).images) === reason;
    });
    node.rotatePassword("second");
    const other = node.daemons.get("d2");
    await agent.until(
      "the other image",
      async () => await other?.currentAuth("/") === "robot:second",
    );
    strictEqual(
      await node.daemons.get("d1")?.currentAuth("/"),
      currentAuth,
      "the current credential stays",
    );
  });
}

Deno.test("docker provider: keeps the last valid configuration while the file is half written", async () => {
  await using node = simNode();
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [passwordImage(node)] });
  await using agent = await AgentProcess.start(node);
  const complete = Deno.readTextFileSync(node.dockerConfigPath);
  Deno.writeTextFileSync(node.dockerConfigPath, complete.slice(0, complete.length / 2));
  await agent.until("the agent to notice", () => agent.log.includes("source-changed"));
  strictEqual(await node.daemons.get("d1")?.currentAuth("/"), "robot:first");
  node.rotatePassword("second");
  await agent.until("the complete file", () => node.allNewest());
});

Deno.test("run: is ready without any daemon, and exits on SIGTERM", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node);
  match((await agent.get("/readyz?verbose")).body, /loop/);
  agent.signal("SIGTERM");
  strictEqual(await agent.ended(), 0);
});

Deno.test("run: reports daemons that misbehave, and delivers to the others", async () => {
  await using node = simNode();
  const faults = {
    unavailable: "unresponsive",
    error: "error-500",
    half: "truncated",
    slow: "slow",
  } as const;
  for (const id of [...Object.keys(faults), "left", "good"]) {
    await node.addDaemon({ id, mode: "dedicated", images: [passwordImage(node)] });
  }
  await using agent = await AgentProcess.start(node);
  for (const [id, fault] of Object.entries(faults)) await node.daemons.get(id)?.setFault(fault);
  await node.daemons.get("left")?.kill();
  node.rotatePassword("second");
  for (const id of ["good", "slow"]) {
    const daemon = node.daemons.get(id);
    await agent.until(id, async () => await daemon?.currentAuth("/") === "robot:second");
  }
  const wanted = {
    unavailable: "unresponsive",
    error: "broken",
    half: "broken",
    left: "no-listener",
  };
  for (const [id, state] of Object.entries(wanted)) {
    await agent.until(
      `${id} to be ${state}`,
      async () =>
        (await agent.status()).daemons.find((daemon) => daemon.id === id)?.state === state,
    );
  }
  for (const id of Object.keys(faults)) await node.daemons.get(id)?.setFault("none");
  await node.daemons.get("left")?.start();
  await agent.until("the recovery", () => node.allNewest());
});

for (const fault of ["garbage", "unresponsive", "gone"] as const) {
  Deno.test(`discovery: keeps the last known instances when the system API is ${fault}`, async () => {
    await using node = simNode();
    await node.addDaemon({ id: "d1", mode: "dedicated", images: [passwordImage(node)] });
    await using agent = await AgentProcess.start(node);
    if (fault === "gone") await node.stopSnapshotter();
    else if (node.snapshotter !== undefined) node.snapshotter.fault = fault;
    await agent.until(
      "the problem in the status",
      async () => (await agent.status()).problems.some(({ source }) => source === "system-api"),
    );
    node.rotatePassword("second");
    await agent.until("the mount", () => node.allNewest());
    const { daemons: [daemon] } = await agent.status();
    strictEqual(daemon?.instances[0]?.image, passwordImage(node));
  });
}

Deno.test("reload: rejects an invalid configuration, and applies a valid one", async () => {
  await using node = simNode();
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [passwordImage(node)] });
  await using agent = await AgentProcess.start(node);
  const path = join(node.dir, "agent.toml");
  const good = Deno.readTextFileSync(path);
  const { configHash } = await agent.status();
  Deno.writeTextFileSync(path, `${good}\n[nonsense`);
  agent.signal("SIGHUP");
  await agent.until("the refusal", () => agent.log.includes("config-refused"));
  strictEqual((await agent.status()).configHash, configHash);
  Deno.writeTextFileSync(path, good.replace('"500ms"', '"700ms"'));
  agent.signal("SIGHUP");
  await agent.until(
    "the new configuration",
    async () => (await agent.status()).configHash !== configHash,
  );
  node.rotatePassword("second");
  await agent.until("the delivery", () => node.allNewest());
});

Deno.test("run: keeps current credentials through repeated SIGKILLs during a provider outage", async () => {
  await using node = simNode();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [tokenImage(node)] });
  const currentAuth = await daemon.currentAuth("/");
  node.setPlugin({ mode: "fail" });
  for (let i = 0; i < 5; i++) {
    await using agent = await AgentProcess.start(node);
    strictEqual(await daemon.currentAuth("/"), currentAuth);
    strictEqual((await agent.status()).daemons[0]?.instances[0]?.delivery, "adopted");
  }
  strictEqual(await daemon.currentAuth("/"), currentAuth);
});

Deno.test("delivery: a nydusd that restarts gets the newest credential from its file", async () => {
  await using node = simNode();
  const daemon = await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [passwordImage(node)],
  });
  await using agent = await AgentProcess.start(node);
  await daemon.kill();
  node.rotatePassword("second");
  await agent.until("the file", () => {
    const text = Deno.readTextFileSync(daemon.instances[0]?.configPath ?? "");
    return text.includes(btoa("robot:second"));
  });
  await daemon.start();
  strictEqual(await daemon.currentAuth("/"), "robot:second");
  await agent.until(
    "it to run",
    async () => (await agent.status()).daemons[0]?.state === "running",
  );
});

Deno.test("run: shows no secret in the log, the status, the metrics, the page and the arguments", async () => {
  await using node = simNode();
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [passwordImage(node)] });
  await node.addDaemon({ id: "d2", mode: "dedicated", images: [tokenImage(node)] });
  await using agent = await AgentProcess.start(node);
  node.rotatePassword("canary-secret");
  await agent.until("the delivery", () => node.allNewest());
  const token = node.newestPair(tokenImage(node)).split(":")[1] ?? "";
  const pages = await Promise.all(
    [
      "/v1/status",
      "/metrics",
      "/",
      "/healthz",
      `/images?ref=${encodeURIComponent(passwordImage(node))}`,
      `/images?ref=${encodeURIComponent(tokenImage(node))}`,
    ].map((p) => agent.get(p)),
  );
  const shown = [
    agent.log,
    ...pages.map(({ body }) => body),
    Deno.readTextFileSync(`/proc/${agent.pid}/cmdline`),
  ].join("\n");
  for (const secret of ["canary-secret", token]) {
    for (const lead of ["", "robot:", "token:"]) {
      const encoded = btoa(lead + secret).slice(0, -4);
      ok(!shown.includes(secret) && !shown.includes(encoded), `a form of ${secret} is shown`);
    }
  }
});
