// deno-lint-ignore-file no-sync-fn-in-async-fn
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, PROGRAM, runWith, simNode } from "./stage.ts";

/** Runs the helper with a server on stdin. */
async function helper(
  action: string,
  server: string,
  dockerConfig: string,
  more: Readonly<Record<string, string>> = {},
) {
  const env = { NYDUS_AUTH_AGENT_PROVIDERS_DOCKER_CONFIG: dockerConfig, ...more };
  const { code, out } = await runWith([...PROGRAM, "docker-credential", action], env, server);
  return { code, out };
}

Deno.test("docker-credential get: prints the credential in docker's format", async () => {
  await using node = simNode();
  const server = `https://${node.passwordRegistry.host}/v2/`;
  const { code, out } = await helper("get", server, node.dockerConfigPath);
  strictEqual(code, 0, out);
  deepStrictEqual(JSON.parse(out), { ServerURL: server, Username: "robot", Secret: "first" });
});

Deno.test("docker-credential get: prints docker's text for a missing credential, and exits with 1", async () => {
  await using node = simNode();
  const answer = await helper("get", "unknown.example.com", node.dockerConfigPath);
  deepStrictEqual(answer, { code: 1, out: "credentials not found in native keychain\n" });
});

Deno.test("docker-credential get: does not call itself when the docker configuration names it", async () => {
  await using node = simNode();
  Deno.writeTextFileSync(node.dockerConfigPath, JSON.stringify({ credsStore: "nydus-auth" }));
  const answer = await helper("get", node.passwordRegistry.host, node.dockerConfigPath);
  deepStrictEqual(answer, { code: 1, out: "credentials not found in native keychain\n" });
});

/** Creates a helper of another name that calls the program; returns its environment and count. */
function roundabout(node: SimNode) {
  const bin = join(node.dir, "roundabout");
  const ran = join(bin, "ran");
  const quoted = PROGRAM.map((word) => `'${word}'`).join(" ");
  Deno.mkdirSync(bin);
  Deno.writeTextFileSync(
    join(bin, "docker-credential-round"),
    `#!/bin/sh\necho ran >>'${ran}'\nexec ${quoted} docker-credential "$@"\n`,
    { mode: 0o755 },
  );
  Deno.writeTextFileSync(node.dockerConfigPath, JSON.stringify({ credsStore: "round" }));
  const env = {
    PATH: `${bin}:${Deno.env.get("PATH")}`,
    NYDUS_AUTH_AGENT_API_SOCKET: join(node.dir, "api.sock"),
    NYDUS_AUTH_AGENT_PROVIDERS_DOCKER_CONFIG: node.dockerConfigPath,
  };
  return { env, times: () => Deno.readTextFileSync(ran).split("\n").length - 1 };
}

Deno.test("docker-credential get: does not loop through a helper of another name", async () => {
  const none = { code: 1, out: "credentials not found in native keychain\n" };
  await using node = simNode();
  const { env, times } = roundabout(node);
  const { host } = node.passwordRegistry;
  deepStrictEqual(await helper("get", host, node.dockerConfigPath, env), none);
  strictEqual(times(), 1, "without an agent");
  await using _agent = await AgentProcess.start(node, { env });
  deepStrictEqual(await helper("get", host, node.dockerConfigPath, env), none);
  strictEqual(times(), 2, "with an agent");
});

Deno.test("docker-credential get: returns nothing to a plugin of the agent", async () => {
  await using node = simNode();
  const host = "registry.example.com";
  const [replies, providers] = [join(node.dir, "replies"), join(node.dir, "providers.json")];
  const quoted = PROGRAM.map((word) => `'${word}'`).join(" ");
  const bin = join(node.dir, "plugins");
  Deno.mkdirSync(bin);
  Deno.writeTextFileSync(
    join(bin, "calls-back"),
    `#!/bin/sh\necho ${host} | ${quoted} docker-credential get >>'${replies}'\nexit 1\n`,
    { mode: 0o755 },
  );
  const plugin = {
    name: "calls-back",
    matchImages: [host],
    defaultCacheDuration: "1h",
    apiVersion: "credentialprovider.kubelet.k8s.io/v1",
  };
  const kind = "CredentialProviderConfig";
  const apiVersion = "kubelet.config.k8s.io/v1";
  Deno.writeTextFileSync(providers, JSON.stringify({ kind, apiVersion, providers: [plugin] }));
  const answer = await helper("get", host, node.dockerConfigPath, {
    NYDUS_AUTH_AGENT_PROVIDERS_KUBELET_CONFIG: providers,
    NYDUS_AUTH_AGENT_PROVIDERS_KUBELET_BIN_DIR: bin,
  });
  deepStrictEqual(answer, { code: 1, out: "credentials not found in native keychain\n" });
  strictEqual(Deno.readTextFileSync(replies), "credentials not found in native keychain\n");
});

Deno.test("docker-credential: stores, lists and erases credentials under docker's names", async () => {
  await using node = simNode();
  await using _agent = await AgentProcess.start(node);
  const env = { NYDUS_AUTH_AGENT_API_SOCKET: join(node.dir, "api.sock") };
  const run = async (action: string, input: string) => {
    const { code, out } = await helper(action, input, node.dockerConfigPath, env);
    strictEqual(code, 0, out);
    return out === "" ? undefined : JSON.parse(out);
  };
  const servers = ["https://index.docker.io/v1/", "https://registry.example.com:5000"];
  for (const ServerURL of servers) {
    await run("store", JSON.stringify({ ServerURL, Username: "ada", Secret: "s:1" }));
    deepStrictEqual(await run("get", ServerURL), { ServerURL, Username: "ada", Secret: "s:1" });
  }
  const listed = await run("list", "unused");
  deepStrictEqual(listed, {
    "https://index.docker.io/v1/": "ada",
    "registry.example.com:5000": "ada",
  });
  for (const server of Object.keys(listed)) await run("erase", server);
  deepStrictEqual(await run("list", "unused"), {});
});

Deno.test("docker-credential: fails without an agent, and for an unknown action", async () => {
  await using node = simNode();
  for (const action of ["store", "erase", "sing"]) {
    strictEqual((await helper(action, "x", node.dockerConfigPath)).code, 1);
  }
  strictEqual((await helper("get", "", node.dockerConfigPath)).code, 1);
});
