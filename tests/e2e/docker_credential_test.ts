// deno-lint-ignore-file no-sync-fn-in-async-fn
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { PROGRAM, simNode } from "./stage.ts";

/** Runs the helper with a server on its standard input. */
async function helper(action: string, server: string, dockerConfig: string) {
  const [path = "", ...rest] = PROGRAM;
  const child = new Deno.Command(path, {
    args: [...rest, "docker-credential", action],
    env: { NYDUS_AUTH_AGENT_PROVIDERS_DOCKER_CONFIG: dockerConfig },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(server));
  await writer.close();
  const { code, stdout } = await child.output();
  return { code, out: new TextDecoder().decode(stdout) };
}

Deno.test("docker-credential get answers as docker's tools expect", async () => {
  await using node = simNode();
  const server = `https://${node.passwordRegistry.host}/v2/`;
  const { code, out } = await helper("get", server, node.dockerConfigPath);
  strictEqual(code, 0, out);
  deepStrictEqual(JSON.parse(out), { ServerURL: server, Username: "robot", Secret: "first" });
});

Deno.test("docker-credential get says not found in the exact words, and exits with 1", async () => {
  await using node = simNode();
  const answer = await helper("get", "unknown.example.com", node.dockerConfigPath);
  deepStrictEqual(answer, { code: 1, out: "credentials not found in native keychain\n" });
});

Deno.test("docker-credential get does not ask itself when the docker configuration names it", async () => {
  await using node = simNode();
  Deno.writeTextFileSync(node.dockerConfigPath, JSON.stringify({ credsStore: "nydus-auth" }));
  const answer = await helper("get", node.passwordRegistry.host, node.dockerConfigPath);
  deepStrictEqual(answer, { code: 1, out: "credentials not found in native keychain\n" });
});

Deno.test("docker-credential refuses what it cannot do", async () => {
  await using node = simNode();
  for (const action of ["store", "erase", "sing"]) {
    strictEqual((await helper(action, "x", node.dockerConfigPath)).code, 1);
  }
  strictEqual((await helper("get", "", node.dockerConfigPath)).code, 1);
});
