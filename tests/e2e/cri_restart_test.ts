/** Clients of the CRI proxy while the agent is restarted, killed, or stopped. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { Conversation, PULL, pulled, type Sent } from "../fakes/cri_conversation.ts";
import { pullImageRequest } from "../fakes/cri_messages.ts";
import { freePort } from "../../lib/simulator/mod.ts";
import { type AgentProcess, command, pause, simNode } from "./stage.ts";
import { writeAll } from "../../lib/platform/http1.ts";
import { callOnce, criProxyStage, echoOn, readExactly } from "./cri_proxy_stage.ts";

/** Number of restarts, and of kills. */
const RESTARTS = Number(Deno.env.get("NYDUS_AUTH_AGENT_CRI_PROXY_RESTARTS") ?? "3");
/** A kubelet calls every 20 seconds. */
const CALL_EVERY_MS = 50;

/** Keeps its connection and reconnects when it is closed, as a gRPC client does. */
class LongLivedClient implements AsyncDisposable {
  calls = 0;
  corrupted = 0;
  /** The longest time without an answer. */
  longestMs = 0;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(path: string) {
    this.#running = this.#run(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(path: string): Promise<void> {
    let connection: Deno.UnixConn | undefined;
    for (let answeredAtMs = Date.now(); !this.#stop.signal.aborted;) {
      const request = crypto.getRandomValues(new Uint8Array(256));
      try {
        connection ??= await Deno.connect({ transport: "unix", path });
        await writeAll(connection, request);
        const answer = await readExactly(connection, request.length);
        this.longestMs = Math.max(this.longestMs, Date.now() - answeredAtMs);
        answeredAtMs = Date.now();
        this.calls++;
        if (answer.some((byte, i) => byte !== request[i])) this.corrupted++;
      } catch {
        connection?.close();
        connection = undefined;
      }
      await pause(CALL_EVERY_MS);
    }
    connection?.close();
  }
}

Deno.test("CRI proxy: a long-lived client uses the proxy again after every restart", async () => {
  await criProxyStage(async ({ link, upstream, dir, start }) => {
    const socket = `${dir}/cri.sock`;
    const listener = echoOn(upstream);
    let agent = await start();
    const isBack = async (agent: AgentProcess) =>
      await agent.until("the client", async () => {
        return ((await agent.status()).criProxy?.openConnections ?? 0) === 1;
      });
    {
      await using client = new LongLivedClient(link);
      await isBack(agent);
      for (let i = 0; i < 2 * RESTARTS; i++) {
        agent.signal(i % 2 === 0 ? "SIGTERM" : "SIGKILL");
        await agent.ended();
        await agent[Symbol.asyncDispose]();
        equal(await Deno.readLink(link), socket, "the link stays within the fallback delay");
        agent = await start({ waitReady: false });
        const before = client.calls;
        await agent.until("calls", () => client.calls > before + 1);
        await isBack(agent);
      }
      equal(client.corrupted, 0);
      // deno-lint-ignore no-console -- the figures are the point
      console.log(
        `${RESTARTS} restarts and ${RESTARTS} kills: ${client.calls} calls, at most ` +
          `${client.longestMs} ms without an answer`,
      );
    }
    await agent[Symbol.asyncDispose]();
    listener.close();
  });
});

Deno.test("CRI proxy: moves the link back after the unit moved it during a slow start", async () => {
  await criProxyStage(async ({ link, upstream, dir, start, fallBack, run }) => {
    const socket = `${dir}/cri.sock`;
    const listener = echoOn(upstream);
    await using agent = await start();
    await fallBack();
    await agent.until("the link", async () => await Deno.readLink(link) === socket);
    await callOnce(link);
    equal((await run("cri-proxy", "off")).code, 0);
    await agent.until(
      "the status",
      async () => (await agent.status()).criProxy?.state === "switched-off",
    );
    equal(await Deno.readLink(link), upstream, "not after cri-proxy off");
    listener.close();
  });
});

Deno.test("CRI proxy: clients reach the runtime when the agent does not come back", async () => {
  await criProxyStage(async ({ link, upstream, dir, start, kill, criProxy }) => {
    const listener = echoOn(upstream);
    await kill(await start());
    equal(await Deno.readLink(link), upstream);
    await callOnce(link);
    // The link points to a stale socket, and the proxy cannot bind its own.
    await Deno.remove(link);
    await Deno.symlink(`${dir}/gone.sock`, link);
    await using agent = await start({ more: criProxy.replace("cri.sock", "none/cri.sock") });
    equal((await agent.status()).criProxy?.state, "not-serving");
    equal(await Deno.readLink(link), upstream);
    listener.close();
  });
});

Deno.test("CRI proxy: completes calls in flight after SIGTERM, and serves new ones meanwhile", async () => {
  await criProxyStage(async ({ link, upstream, start }) => {
    const listener = Deno.listen({ transport: "unix", path: upstream });
    await using agent = await start();
    const client = await Deno.connect({ transport: "unix", path: link });
    const server = await listener.accept();
    const pass = async ({ from, bytes }: Sent) => {
      const [sender, receiver] = from === "client" ? [client, server] : [server, client];
      const [arrived] = await Promise.all([
        readExactly(receiver, bytes.length),
        writeAll(sender, bytes),
      ]);
      deepEqual(arrived, bytes);
    };
    const conversation = new Conversation();
    const message = pullImageRequest({ image: "registry.example/team/app:v1" });
    const answer = pulled(`sha256:${"a".repeat(64)}`);
    for (const sent of conversation.opening()) await pass(sent);
    // Header compression depends on the order, so each step is made when it is sent.
    const first = conversation.call({ path: PULL, message, answer });
    for (let requests = 0; requests < 2; requests++) await pass(first.next().value as Sent);
    agent.signal("SIGTERM");
    await agent.until(
      "the end of its server",
      async () => (await agent.get("/livez")).status === 0,
    );
    for (const sent of conversation.call({ path: PULL, message, answer })) await pass(sent);
    for (const sent of first) await pass(sent);
    equal(await agent.ended(), 0);
    equal(await client.read(new Uint8Array(1)), null);
    client.close();
    server.close();
    listener.close();
  });
});

Deno.test("explain: warns that CRI pulls are not observed when no client uses the proxy", async () => {
  await using node = simNode();
  const port = freePort();
  const now = new Date().toISOString();
  const criProxy = {
    state: "in-path",
    socket: "/run/cri.sock",
    link: "/run/image.sock",
    linkTarget: "/run/cri.sock",
    idleSince: new Date(Date.now() - 600_000).toISOString(),
    restoredImages: 2,
  };
  const status = { now, startedAt: now, images: [], daemons: [], problems: [], criProxy };
  await using _agent = Deno.serve(
    { port, hostname: "127.0.0.1", onListen() {} },
    () => Response.json(status),
  );
  const config = join(node.dir, "agent.toml");
  await Deno.writeTextFile(
    config,
    `[snapshotter]\nconfig = "${node.snapshotterConfigPath}"\n` +
      `[server]\naddress = "127.0.0.1:${port}"\n[api]\nsocket = "off"\n`,
  );
  const { out, err } = await command(["explain", "quay.io/some/thing", "--config", config]);
  ok(out !== "", err);
  match(
    out,
    /^warning +credentials of CRI pulls are not observed: no client .* 2 images were pulled .*: restart the/m,
  );
});
