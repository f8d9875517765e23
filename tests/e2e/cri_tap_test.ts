import { deepEqual, equal, ok } from "node:assert/strict";
import { readRecording } from "../fakes/cri_conversation.ts";
import { type AgentProcess, pause } from "./stage.ts";
import { tapStage } from "./tap_stage.ts";

const RECORDING = new URL("../unit/serve/cri/recordings/grpc-go.txt", import.meta.url);
/** How often the agent is killed while calls go on; the binary starts faster, so CI asks for more. */
const KILLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_TAP_KILLS") ?? "3");

async function readExactly(connection: Deno.UnixConn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let done = 0; done < count;) {
    const read = await connection.read(bytes.subarray(done));
    if (read === null) throw new Error("the connection ended");
    done += read;
  }
  return bytes;
}

async function writeAll(connection: Deno.UnixConn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
}

Deno.test("CRI tap: a kubelet's conversation passes unchanged, and what it shows is kept in memory", async () => {
  await tapStage(async ({ inMemory, link, upstream, state, start }) => {
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

Deno.test("CRI tap: calls fail only in flight while the agent is killed, late, or not there", async () => {
  await tapStage(async ({ link, upstream, start, kill }) => {
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
          await pause(5); // as a gRPC client: it connects again
          continue;
        }
        const question = crypto.getRandomValues(new Uint8Array(512));
        try {
          await writeAll(connection, question);
          const answer = await readExactly(connection, question.length);
          counts.calls++;
          if (answer.some((byte, i) => byte !== question[i])) counts.corrupted++;
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
      const until = () => counts.calls > before + 20;
      if (agent !== undefined) return await agent.until(what, until);
      while (!until()) await pause(5);
    };
    await moreCalls(undefined, "calls without an agent");
    for (let i = 0; i < KILLS; i++) {
      const agent = await start();
      await agent.until("the link", async () => (await Deno.readLink(link)) !== upstream);
      await moreCalls(agent, "calls beside the agent");
      await kill(agent);
      await moreCalls(undefined, "calls after its end");
    }
    const agent = await start();
    agent.signal("SIGTERM");
    equal(await agent.ended(), 0);
    equal(await Deno.readLink(link), upstream, "an orderly end needs no unit");
    await moreCalls(undefined, "calls after an orderly end");
    await agent[Symbol.asyncDispose]();
    stop.abort();
    await calling;
    listener.close();
    await serving;
    equal(counts.corrupted, 0);
    ok(counts.broken <= KILLS + 1, `${counts.broken} of ${counts.calls} calls broke`);
  });
});
