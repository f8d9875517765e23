import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readRecording } from "../fakes/cri_conversation.ts";
import { AgentProcess, pause } from "./stage.ts";
import { writeAll } from "../../lib/platform/http1.ts";
import { callOnce, criProxyStage, echoOn, pullThrough, readExactly } from "./cri_proxy_stage.ts";

const RECORDING = new URL("../unit/cri/recordings/grpc-go.txt", import.meta.url);
/** Kills of the agent during calls; CI sets more, because the binary starts faster. */
const KILLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_CRI_PROXY_KILLS") ?? "3");
/** Minimum number of calls during and after each agent. */
const CALLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_CRI_PROXY_CALLS") ?? "20");

Deno.test("CRI proxy: forwards a kubelet's connection unchanged, and keeps its pull credentials in memory", async () => {
  await criProxyStage(async ({ inMemory, link, upstream, state, start }) => {
    const listener = Deno.listen({ transport: "unix", path: upstream });
    const agent = await start();
    const client = await Deno.connect({ transport: "unix", path: link });
    const server = await listener.accept();
    for (const { from, bytes } of readRecording(await Deno.readTextFile(RECORDING))) {
      const [sender, receiver] = from === "client" ? [client, server] : [server, client];
      const arriving = readExactly(receiver, bytes.length);
      await writeAll(sender, bytes);
      deepEqual(await arriving, bytes);
    }
    client.close();
    server.close();
    if (inMemory) {
      await agent.until("the state file", async () => {
        const text = await Deno.readTextFile(state).catch(() => "");
        return text.includes("registry.example/team/app:v1");
      });
      equal(((await Deno.stat(state)).mode ?? 0) & 0o777, 0o600);
    } else {
      await agent.until("the warning", () => agent.log.includes("would be on a disk"));
    }
    ok(!agent.log.includes("fake-password"), "no password in the log");
    listener.close();
    await agent[Symbol.asyncDispose]();
  });
});

Deno.test("CRI proxy: triggers a reconcile after a successful pull", async () => {
  await criProxyStage(async ({ node, link, upstream, criProxy }) => {
    const listener = Deno.listen({ transport: "unix", path: upstream });
    const renewal = 'check_interval = "1h"\nrefresh_interval = "1h"';
    await using agent = await AgentProcess.start(node, { more: criProxy, renewal });
    const before = (await agent.status()).lastReconcileAtMs;
    const auth = { username: "robot", password: "seen-once" };
    await pullThrough(link, listener, { image: "registry.example/team/app:v1", auth });
    await agent.until("a reconcile", async () => {
      return (await agent.status()).lastReconcileAtMs !== before;
    });
    listener.close();
  });
});

Deno.test("CRI proxy: restores pull credentials after a restart, unless remember is off", async () => {
  await criProxyStage(async ({ inMemory, link, upstream, state, criProxy, start, run, kill }) => {
    const listener = Deno.listen({ transport: "unix", path: upstream });
    const image = "registry.example/team/app:v1";
    const pulled = async () => {
      const { code, out, err } = await run("get", image, "--output", "json");
      return code === 0 ? JSON.parse(out) : err;
    };
    const isStored = () => Deno.stat(state).then(() => true, () => false);
    const first = await start();
    await pullThrough(link, listener, {
      image,
      auth: { username: "robot", password: "seen-once" },
    });
    await first.until("the credential", async () => (await pulled()).provider === "cri");
    if (inMemory) await first.until("the state file", isStored);
    await kill(first);
    const second = await start();
    const { idleSinceMs, restoredImages } = (await second.status()).criProxy ?? {};
    ok(idleSinceMs !== undefined, "no client is connected");
    equal(restoredImages, inMemory ? 1 : 0);
    if (inMemory) {
      const { provider, password } = await pulled();
      deepEqual([provider, password], ["cri", "seen-once"]);
    } else ok((await pulled()).startsWith("no credential"));
    await kill(second);
    const forgetful = await start({ more: `${criProxy}\npersist = false` });
    equal(await isStored(), false, "the stored credentials are removed");
    ok((await pulled()).startsWith("no credential"));
    await pullThrough(link, listener, { image, auth: { username: "robot", password: "again" } });
    await forgetful.until("the credential", async () => (await pulled()).password === "again");
    await pause(500); // longer than the delay of a write
    equal(await isStored(), false);
    await kill(forgetful);
    await Deno.writeTextFile(state, "{}");
    const disabled = await start({ more: criProxy.replace("true", "false") });
    equal(await isStored(), false, "removed when the CRI proxy is disabled");
    await kill(disabled);
    listener.close();
  });
});

Deno.test("CRI proxy: only calls in flight fail when the agent is killed or absent", async () => {
  await criProxyStage(async ({ link, upstream, start, kill }) => {
    const listener = Deno.listen({ transport: "unix", path: upstream });
    const serving = (async () => {
      for await (const connection of listener) {
        void connection.readable.pipeTo(connection.writable).catch(() => {});
      }
    })();
    await Deno.symlink(upstream, link);
    const counts = { calls: 0, broken: 0, corrupted: 0 };
    const stop = new AbortController();
    const calling = (async () => {
      let connection: Deno.UnixConn | undefined;
      while (!stop.signal.aborted) {
        try {
          connection ??= await Deno.connect({ transport: "unix", path: link });
        } catch {
          await pause(5); // reconnects, as a gRPC client does
          continue;
        }
        const request = crypto.getRandomValues(new Uint8Array(512));
        try {
          await writeAll(connection, request);
          const answer = await readExactly(connection, request.length);
          counts.calls++;
          if (answer.some((byte, i) => byte !== request[i])) counts.corrupted++;
        } catch {
          counts.broken++;
          connection.close();
          connection = undefined;
        }
      }
      connection?.close();
    })();
    const moreCalls = async (agent: AgentProcess | undefined, what: string) => {
      const before = counts.calls;
      const until = () => counts.calls > before + CALLS;
      if (agent !== undefined) return await agent.until(what, until);
      while (!until()) await pause(5);
    };
    await moreCalls(undefined, "calls without an agent");
    for (let i = 0; i < KILLS; i++) {
      const agent = await start();
      await agent.until("the link", async () => (await Deno.readLink(link)) !== upstream);
      await moreCalls(agent, "calls with an agent");
      await kill(agent);
      await moreCalls(undefined, "calls after the kill");
    }
    const agent = await start({ bare: true });
    agent.signal("SIGTERM");
    equal(await agent.ended(), 0);
    equal(await Deno.readLink(link), upstream, "without the unit the agent moves the link");
    await moreCalls(undefined, "calls after a clean exit");
    await agent[Symbol.asyncDispose]();
    stop.abort();
    await calling;
    listener.close();
    await serving;
    equal(counts.corrupted, 0);
    ok(counts.broken <= KILLS + 1, `${counts.broken} of ${counts.calls} calls broke`);
  });
});

Deno.test("cri-proxy: off bypasses the proxy over restarts, on uses it again", async () => {
  await criProxyStage(async ({ link, upstream, dir, start, run, kill, fallBack }) => {
    const listener = echoOn(upstream);
    const socket = `${dir}/cri.sock`;
    const first = await start();
    equal(await Deno.readLink(link), socket);
    const connection = await Deno.connect({ transport: "unix", path: link });
    const off = await run("cri-proxy", "off");
    equal(off.code, 0, off.err);
    match(off.out, /new connections bypass the agent/);
    equal(await Deno.readLink(link), upstream);
    await callOnce(link);
    await writeAll(connection, Uint8Array.of(7));
    deepEqual(await readExactly(connection, 1), Uint8Array.of(7), "open connections stay");
    equal((await first.status()).criProxy?.idleSinceMs, undefined, "a client is connected");
    connection.close();
    await first.until(
      "the status",
      async () => (await first.status()).criProxy?.state === "switched-off",
    );
    equal(
      (await first.status()).criProxy?.connections,
      1,
      "the second call bypassed the CRI proxy",
    );
    await kill(first);
    const second = await start();
    equal(await Deno.readLink(link), upstream, "a new agent does not move the link");
    match((await run("cri-proxy", "status")).out, /^out of the path: .*, set by `cri-proxy off`$/m);
    const on = await run("cri-proxy", "on");
    equal(on.code, 0, on.err);
    equal(await Deno.readLink(link), socket);
    await callOnce(link);
    await second.until("the status", async () => {
      const { criProxy } = await second.status();
      return criProxy?.state === "in-path" && criProxy.connections >= 1;
    });
    match((await run("cri-proxy", "status")).out, /^in the path: /);
    second.signal("SIGTERM");
    equal(await second.ended(), 0);
    await second[Symbol.asyncDispose]();
    equal(await Deno.readLink(link), socket, "for as long as the fallback delay");
    await fallBack();
    const idle = await run("cri-proxy", "status");
    match(idle.out, /no agent serves/);
    equal(idle.code, 1);
    const early = await run("cri-proxy", "on");
    match(early.out, /no agent serves now/);
    equal(await Deno.readLink(link), upstream);
    equal((await run("cri-proxy", "sideways")).code, 2);
    listener.close();
  });
});

Deno.test("CRI proxy: reports a link to another target, and counts connections and bytes", async () => {
  await criProxyStage(async ({ link, upstream, start, run, kill }) => {
    const listener = echoOn(upstream);
    const agent = await start();
    await callOnce(link);
    const metrics = (await agent.get("/metrics")).body;
    match(metrics, /^nydus_auth_agent_cri_proxy_in_path 1$/m);
    match(metrics, /^nydus_auth_agent_cri_proxy_connections_total 1$/m);
    match(metrics, /^nydus_auth_agent_cri_proxy_bytes_total\{to="runtime"\} 1000$/m);
    match(metrics, /^nydus_auth_agent_cri_proxy_bytes_total\{to="clients"\} 1000$/m);
    await Deno.remove(link);
    await Deno.symlink("containerd.sock", link);
    await agent.until("the finding", async () => {
      return (await agent.get("/readyz?verbose")).body.includes(
        "[!] cri-proxy: credentials of CRI pulls are not observed",
      );
    });
    const outOfPath = /^nydus_auth_agent_cri_proxy_in_path 0$/m;
    await agent.until("the metric", async () => outOfPath.test((await agent.get("/metrics")).body));
    equal((await run("cri-proxy", "on")).code, 0);
    await agent.until("the recovery", async () => {
      return (await agent.get("/readyz?verbose")).body.includes("[+] cri-proxy: no problems");
    });
    await kill(agent);
    listener.close();
  });
});
