import { deepEqual, equal, match } from "node:assert/strict";
import { CONFIG_KEYS, flagName } from "../../../lib/config/mod.ts";
import { load, problemOf } from "./sources.ts";

Deno.test("readFlags: resolves relative paths against the working directory", async () => {
  const config = await load({
    flags: { snapshotterRoot: "nydus", systemAddress: "../system.sock", dockerConfig: "/abs.json" },
  });
  equal(config.node.root, "/cwd/dir/nydus");
  equal(config.node.systemSocket, "/cwd/system.sock");
  equal(config.providers.docker.configPath, "/abs.json");
});

Deno.test("readFlags: accepts off and an empty text for optional settings", async () => {
  for (const off of ["off", ""]) {
    const config = await load({ flags: { systemAddress: off, address: off } });
    equal("systemSocket" in config.node, false);
    equal("server" in config, false);
  }
  match((await problemOf({ flags: { snapshotterRoot: "" } })).problem, /the text ""/);
});

Deno.test("readFlags: reports the flag with an example", async () => {
  deepEqual(await problemOf({ flags: { checkInterval: "5" } }), {
    file: "--check-interval",
    place: "renewal.check_interval",
    problem: `found the text "5", expected a duration from 100ms to 1h`,
    remedy: "for example --check-interval 1m",
  });
});

Deno.test("readEnvironment: rejects relative paths and reports the variable", async () => {
  const env = { NYDUS_AUTH_AGENT_PROVIDERS_DOCKER_CONFIG: "config.json" };
  deepEqual(await problemOf({ env }), {
    file: "NYDUS_AUTH_AGENT_PROVIDERS_DOCKER_CONFIG",
    place: "providers.docker.config",
    problem: `found the text "config.json", expected an absolute path`,
    remedy: "for example NYDUS_AUTH_AGENT_PROVIDERS_DOCKER_CONFIG=/var/lib/kubelet/config.json",
  });
});

Deno.test("readEnvironment: accepts only exact booleans and numbers", async () => {
  for (const text of ["yes", "1", "TRUE"]) {
    const env = { NYDUS_AUTH_AGENT_PROVIDERS_CRI_ENABLED: text };
    match((await problemOf({ env })).problem, /expected true or false/);
  }
  for (const text of ["4.5", "1e1", "0x4", "many"]) {
    const env = { NYDUS_AUTH_AGENT_PROVIDERS_KUBELET_MAX_PARALLEL: text };
    match((await problemOf({ env })).problem, /expected an integer/);
  }
});

Deno.test("readEnvironment: warns about an unknown variable", async () => {
  const { warnings } = await load({
    env: { NYDUS_AUTH_AGENT_RENEWAL_CHEK_INTERVAL: "1m", NYDUS_AUTH_AGENT_ZZZ: "", PATH: "/bin" },
  });
  deepEqual(warnings.map(({ file, problem }) => [file, problem]), [
    ["NYDUS_AUTH_AGENT_RENEWAL_CHEK_INTERVAL", "unknown variable"],
    ["NYDUS_AUTH_AGENT_ZZZ", "unknown variable"],
  ]);
});

Deno.test("readEnvironment: ignores the variables that Kubernetes sets for a Service", async () => {
  const { warnings } = await load({
    env: {
      NYDUS_AUTH_AGENT_SERVICE_HOST: "10.0.0.1",
      NYDUS_AUTH_AGENT_SERVICE_PORT_METRICS: "9111",
      NYDUS_AUTH_AGENT_PORT: "tcp://10.0.0.1:9111",
      NYDUS_AUTH_AGENT_PORT_9111_TCP_ADDR: "10.0.0.1",
    },
  });
  deepEqual(warnings, []);
});

Deno.test("CONFIG_KEYS: has unique paths, variables and flags", () => {
  const named = CONFIG_KEYS.flatMap(({ path, env, flag }) => [path, env, flag && flagName(flag)])
    .filter((name) => name !== undefined);
  equal(new Set(named).size, named.length);
  equal(named.includes("--config"), false);
  equal(named.includes("NYDUS_AUTH_AGENT_CONFIG"), false);
});
