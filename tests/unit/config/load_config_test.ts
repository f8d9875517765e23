import { deepEqual, equal, match, notEqual, ok, rejects, throws } from "node:assert/strict";
import { loadConfig } from "../../../lib/config/mod.ts";
import { ConfigError } from "../../../lib/model/mod.ts";
import { load, OURS, problemsOf, type Sources, THEIRS } from "./sources.ts";

Deno.test("loadConfig: uses every default without files", async () => {
  const { hash, values: _, providers, ...config } = await load();
  match(hash, /^[0-9a-f]{64}$/);
  deepEqual(config, {
    files: [],
    warnings: [],
    node: {
      root: "/var/lib/containerd/io.containerd.snapshotter.v1.nydus",
      systemSocket: "/run/containerd-nydus/system.sock",
      fsDriver: "fusedev",
      daemonMode: "dedicated",
      daemonTemplate: "/etc/nydus/nydusd-config.json",
      vpcRegistry: false,
      daemons: [],
    },
    renewal: {
      enabled: true,
      checkIntervalMs: 60_000,
      leadTimeMs: "auto",
      refreshIntervalMs: 240_000,
    },
    delivery: {
      configFiles: "auto",
      allowedHosts: [],
      unapprovedHostPolicy: "warn",
      verify: "as-needed",
    },
    server: { hostname: "127.0.0.1", port: 9111 },
    api: { socket: "/run/nydus-auth-agent/api.sock" },
    log: { level: "info", format: "text" },
  });
  // Others have tests of their own.
  const { timeoutMs, labels, cri, docker, kubelet, kubesecret } = providers;
  deepEqual({ timeoutMs, labels, cri, docker, kubelet, kubesecret }, {
    timeoutMs: 5_000,
    labels: { enabled: true },
    cri: {
      enabled: false,
      socket: "/run/nydus-auth-agent/cri.sock",
      link: "/run/nydus-auth-agent-cri/image.sock",
      imageServiceSocket: "/run/containerd/containerd.sock",
      fallbackDelayMs: 0,
      persist: true,
    },
    docker: { enabled: true, helperTimeoutMs: 30_000 },
    kubelet: { enabled: false, configPath: "", binDir: "", timeoutMs: 60_000, maxParallel: 4 },
    kubesecret: { enabled: false },
  });
});

Deno.test("loadConfig: follows flag > environment > file > snapshotter > default", async () => {
  const layers: [string, Sources][] = [
    ["/flag", { flags: { snapshotterRoot: "/flag" } }],
    ["/env", { env: { NYDUS_AUTH_AGENT_SNAPSHOTTER_ROOT: "/env" } }],
    ["/ours", { ours: `[snapshotter]\nroot = "/ours"` }],
    ["/theirs", { theirs: `root = "/theirs"` }],
    ["/var/lib/containerd/io.containerd.snapshotter.v1.nydus", {}],
  ];
  // In every subset of the layers, the one with the highest precedence applies.
  for (let subset = 0; subset < 1 << layers.length; subset++) {
    const chosen = layers.filter((_, index) => subset & (1 << index));
    const sources = Object.assign({}, ...chosen.map(([, source]) => source));
    const wanted = chosen[0]?.[0] ?? layers[4]?.[0];
    equal((await load(sources)).node.root, wanted, JSON.stringify(sources));
  }
});

Deno.test("loadConfig: each layer can set each key", async () => {
  const config = await load({
    flags: { checkInterval: "200ms", logLevel: "debug" },
    env: {
      NYDUS_AUTH_AGENT_RENEWAL_CHECK_INTERVAL: "5s",
      NYDUS_AUTH_AGENT_RENEWAL_LEAD_TIME: "2h",
      NYDUS_AUTH_AGENT_PROVIDERS_KUBELET_MAX_PARALLEL: "8",
      NYDUS_AUTH_AGENT_PROVIDERS_DOCKER_ENABLED: "false",
      NYDUS_AUTH_AGENT_LOG_FORMAT: "",
    },
    ours: `renewal = { check_interval = "9s", lead_time = "9s", refresh_interval = "9s" }
      log = { level = "error", format = "json" }`,
  });
  const { checkIntervalMs, leadTimeMs, refreshIntervalMs } = config.renewal;
  deepEqual([checkIntervalMs, leadTimeMs, refreshIntervalMs], [200, 7_200_000, 9_000]);
  equal(config.providers.kubelet.maxParallel, 8);
  equal(config.providers.docker.enabled, false);
  deepEqual(config.log, { level: "debug", format: "json" });
});

Deno.test("loadConfig: reports the problems of all sources", async () => {
  const problems = await problemsOf({
    ours: `[renewal]\ncheck_intervall = "1m"\nlead_time = 60\n[log]\nlevel = "loud"`,
    theirs: `root = 5`,
    env: { NYDUS_AUTH_AGENT_RENEWAL_REFRESH_INTERVAL: "daily" },
    flags: { address: "nowhere" },
  });
  deepEqual(problems.map(({ file, place }) => [file, place]), [
    [OURS, "renewal.check_intervall"],
    [OURS, "renewal.lead_time"],
    [OURS, "log.level"],
    ["NYDUS_AUTH_AGENT_RENEWAL_REFRESH_INTERVAL", "renewal.refresh_interval"],
    ["--address", "server.address"],
    [THEIRS, "root"],
  ]);
  for (const { problem, remedy } of problems) {
    notEqual(problem, "");
    notEqual(remedy, "");
  }
});

Deno.test("loadConfig: reads the other sources when the configuration file is invalid", async () => {
  const problems = await problemsOf({ ours: "[", theirs: "root = 5", flags: { logLevel: "x" } });
  deepEqual(problems.map(({ file }) => file), [OURS, "--log-level", THEIRS]);
});

Deno.test("loadConfig: throws a ConfigError with one line per problem", async () => {
  await rejects(
    load({ ours: "a_key = 1\nb_key = 2" }),
    (error) => error instanceof ConfigError && error.message.split("\n").length === 2,
  );
});

Deno.test("loadConfig: rethrows other errors", async () => {
  const readText = () => Promise.reject(new TypeError("a mistake in the program"));
  await rejects(loadConfig({ host: { env: {}, cwd: "/" }, files: { readText } }, {}), TypeError);
});

Deno.test("loadConfig: returns the files that it read, in order", async () => {
  const files = { "/a.toml": `[snapshotter]\nconfig = "/b.toml"`, "/b.toml": "" };
  deepEqual((await load({ files, flags: { config: "/a.toml" } })).files, ["/a.toml", "/b.toml"]);
  deepEqual((await load({ theirs: "" })).files, [THEIRS]);
});

Deno.test("loadConfig: locates the configuration file by flag, environment, default", async () => {
  const files = {
    "/flag.toml": `log.level = "debug"`,
    "/env.toml": `log.level = "warning"`,
    [OURS]: `log.level = "error"`,
  };
  const env = { NYDUS_AUTH_AGENT_CONFIG: "/env.toml" };
  const level = async (sources: Sources) => (await load({ files, ...sources })).log.level;
  equal(await level({ flags: { config: "/flag.toml" }, env }), "debug");
  equal(await level({ env }), "warning");
  equal(await level({ env: { NYDUS_AUTH_AGENT_CONFIG: "" } }), "error");
});

Deno.test("loadConfig: locates the snapshotter's file by every layer, or reads none", async () => {
  const files = {
    "/flag.toml": `root = "/flag"`,
    "/env.toml": `root = "/env"`,
    "/ours.toml": `root = "/ours"`,
    [THEIRS]: `root = "/theirs"`,
  };
  const ours = `snapshotter.config = "/ours.toml"`;
  const env = { NYDUS_AUTH_AGENT_SNAPSHOTTER_CONFIG: "/env.toml" };
  const root = async (sources: Sources) => (await load({ files, ...sources })).node.root;
  equal(
    await root({
      flags: { snapshotterConfig: "/flag.toml" },
      env,
      files: { ...files, [OURS]: ours },
    }),
    "/flag",
  );
  equal(await root({ env, files: { ...files, [OURS]: ours } }), "/env");
  equal(await root({ files: { ...files, [OURS]: ours } }), "/ours");
  equal(await root({}), "/theirs");
  match(await root({ flags: { snapshotterConfig: "off" } }), /^\/var\/lib\//);
});

Deno.test("loadConfig: freezes the whole result", async () => {
  const config = await load({ ours: `[[daemons]]\nsocket = "/a.sock"\nref = "nginx"` });
  ok(Object.isFrozen(config) && Object.isFrozen(config.providers.kubelet));
  ok(Object.isFrozen(config.files) && Object.isFrozen(config.warnings));
  throws(() => Object.assign(config.node.daemons[0] ?? {}, { ref: "other" }), TypeError);
});

Deno.test("loadConfig: hashes the settings regardless of their source", async () => {
  const { hash } = await load();
  const same: Sources[] = [
    { ours: "" },
    { ours: "# a comment" },
    { ours: `[renewal]\ncheck_interval = "60s"` },
    { flags: { checkInterval: "1m0s", logLevel: "info" } },
    { theirs: `daemon_mode = "multiple"\n[system]\nenable = true` },
    { flags: { config: "/elsewhere.toml" }, files: { "/elsewhere.toml": "" } },
  ];
  for (const sources of same) equal((await load(sources)).hash, hash, JSON.stringify(sources));
  const different: Sources[] = [
    { flags: { checkInterval: "61s" } },
    { flags: { address: "off" } },
    { ours: `[[daemons]]\nsocket = "/a.sock"\nref = "nginx"` },
    { theirs: "" },
  ];
  for (const sources of different) {
    notEqual((await load(sources)).hash, hash, JSON.stringify(sources));
  }
});
