import { deepEqual, equal, match } from "node:assert/strict";
import { join } from "node:path";
import type { Context } from "../../../lib/platform/mod.ts";
import { runProgram } from "../../../lib/cli/mod.ts";
import { listenUnix } from "../../../lib/platform/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeHost } from "../../fakes/host.ts";

/** Runs the program by the name of the helper. */
async function helper(...args: readonly string[]) {
  const host = Object.assign(new FakeHost(), { calledAs: "docker-credential-nydus-auth", args });
  const code = await runProgram({ host } as unknown as Context);
  equal(host.complained, "", "errors go to the standard output");
  return { code, out: host.written };
}

const USAGE = "Usage: docker-credential-nydus-auth <store|get|erase|list|version>\n";

Deno.test("docker-credential: answers usage, version and errors like docker's own helpers", async () => {
  deepEqual(await helper(), { code: 1, out: USAGE });
  deepEqual(await helper("get", "more"), { code: 1, out: USAGE });
  for (const flag of ["--help", "-h"]) deepEqual(await helper(flag), { code: 0, out: USAGE });
  for (const flag of ["version", "--version", "-v"]) {
    const { code, out } = await helper(flag);
    equal(code, 0);
    match(out, /^docker-credential-nydus-auth \(nydus-auth-agent\) \S+\n$/);
  }
  deepEqual(await helper("si\x1bng"), {
    code: 1,
    out: "docker-credential-nydus-auth: unknown action: si\\u001bng\n",
  });
  deepEqual(await helper("get"), { code: 1, out: "no credentials server URL\n" });
  deepEqual(await helper("erase"), { code: 1, out: "no credentials server URL\n" });
});

Deno.test("API clients: need access to the socket, not to the agent's configuration", async () => {
  const dir = await Deno.makeTempDir({ prefix: "helper-" });
  const socket = join(dir, "api.sock");
  const files = new FakeFiles();
  files.refuseReading("/etc/nydus-auth-agent/config.toml");
  const credential = { form: "basic", username: "ada", password: "p" };
  const given = { provider: "docker", credential, origin: "o", fetchedAt: "", fingerprint: "f" };
  const ran = async (calledAs: string, args: readonly string[]) => {
    const env = { NYDUS_AUTH_AGENT_API_SOCKET: socket };
    const readInput = () => Promise.resolve("registry.example.com");
    const host = Object.assign(new FakeHost(), { calledAs, args, env, readInput });
    const clock = new FakeClock(0);
    const code = await runProgram({ host, files, clock } as unknown as Context);
    return { code, out: host.written, err: host.complained };
  };
  try {
    {
      const body = { level: "info", credentials: [], ...given };
      await using _agent = await listenUnix(socket, () => Response.json(body));
      const get = await ran("docker-credential-nydus-auth", ["get"]);
      equal(get.code, 0, get.out);
      equal(JSON.parse(get.out).Username, "ada");
      equal((await ran("docker-credential-nydus-auth", ["list"])).out, "{}\n");
      for (const args of [["get", "registry.example.com/a"], ["log-level", "get"]]) {
        const { code, err } = await ran("nydus-auth-agent", args);
        equal(code, 0, err);
      }
      const named = await ran("nydus-auth-agent", [
        ...["log-level", "get", "--config", "/etc/nydus-auth-agent/config.toml"],
      ]);
      equal(named.code, 2, "a file in an option must be readable");
    }
    {
      await using _other = await listenUnix(socket, () => new Response("not the agent"));
      const { err } = await ran("nydus-auth-agent", ["get", "registry.example.com/a"]);
      match(
        err,
        /^warning: no answer from the agent \(.*the response is not valid; [^)]*\); querying providers/,
      );
    }
    const alone = await ran("docker-credential-nydus-auth", ["get"]);
    equal(alone.code, 1, "without an agent the configuration is needed");
    match(alone.out, /make it a TOML file that the agent's user can read/);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
