import { equal } from "node:assert/strict";
import { fileURLToPath } from "node:url";

const EDGE = new URL("../../../lib/platform/mod.ts", import.meta.url).href;
const CONFIG = fileURLToPath(new URL("../../../deno.json", import.meta.url));

/** Long enough for a busy machine, but shorter than the deadlines. */
const KILL_AFTER_MS = 150_000;

/** Runs a module whose requests have deadlines of an hour. Returns its exit code. */
async function exitCode(body: string): Promise<number> {
  const text = `
    import { createKubeHttp, createRegistryHttp, createUnixHttp } from ${JSON.stringify(EDGE)};
    const timeoutMs = 3_600_000;
    ${body}`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", "--config", CONFIG, "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const timer = setTimeout(() => child.kill("SIGKILL"), KILL_AFTER_MS);
  const { code, stderr } = await child.output();
  clearTimeout(timer);
  equal(new TextDecoder().decode(stderr), "");
  return code;
}

// The servers are in this process: the other one would wait for their graceful end.
Deno.test("platform clients: a program exits after its requests, before their deadlines", async () => {
  const dir = await Deno.makeTempDir();
  const path = `${dir}/s`;
  const onListen = () => {};
  await using _unix = Deno.serve({ path, onListen }, () => new Response("ok"));
  await using tcp = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen },
    () => new Response("ok"),
  );
  equal(
    await exitCode(`
      const origin = "http://127.0.0.1:${tcp.addr.port}";
      const outer = new AbortController();
      const common = { method: "GET", headers: [], timeoutMs, maxBytes: 100 };
      const socketPath = ${JSON.stringify(path)};
      const results = [
        await createUnixHttp().request({ ...common, socketPath, path: "/" }, outer),
        await createRegistryHttp().request({ ...common, url: origin, skipVerify: false, caFiles: [] }, outer),
        await createKubeHttp().request({ ...common, connection: { server: origin, skipVerify: false }, path: "/" }, outer),
      ];
      const failed = results.filter(({ kind }) => kind !== "answered");
      if (failed.length > 0) throw new Error(JSON.stringify(failed));
    `),
    0,
  );
  await Deno.remove(dir, { recursive: true });
});

Deno.test("UnixHttp: a program exits while a connection is idle", async () => {
  const dir = await Deno.makeTempDir();
  const path = `${dir}/s`;
  await using _server = Deno.serve({ path, onListen: () => {} }, () => new Response("ok"));
  equal(
    await exitCode(`
      const request = { socketPath: ${JSON.stringify(path)}, method: "GET", path: "/", timeoutMs };
      const result = await createUnixHttp().request(request);
      if (result.kind !== "answered") throw new Error(JSON.stringify(result));
    `),
    0,
  );
  await Deno.remove(dir, { recursive: true });
});
