import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import {
  divideDescriptors,
  LocalApiServer,
  ReconfigurableListener,
} from "../../../lib/agent/listeners.ts";
import type { ApiAgent } from "../../../lib/api/mod.ts";
import type { AgentConfig } from "../../../lib/config/mod.ts";
import type { Context } from "../../../lib/platform/mod.ts";
import { FakeHost } from "../../fakes/host.ts";
import { FakeObserver } from "../../fakes/observer.ts";

function stage() {
  const events: string[] = [];
  const open = (name: string) => () => {
    events.push(`open ${name}`);
    if (name === "taken") return Promise.reject(new Error("taken"));
    return Promise.resolve({
      [Symbol.asyncDispose]() {
        events.push(`close ${name}`);
        return Promise.resolve();
      },
    });
  };
  return { events, open, listener: new ReconfigurableListener() };
}

Deno.test("ReconfigurableListener: opens the new address before it closes the old one", async () => {
  const { events, open, listener } = stage();
  await listener.rebind({ address: "a" }, open("a"));
  await listener.rebind({ address: "a" }, open("again"));
  await listener.rebind({ address: "b" }, open("b"));
  await listener.rebind(undefined, open("never"));
  deepEqual(events, ["open a", "open b", "close a", "close b"]);
});

Deno.test("ReconfigurableListener: closes first when only the settings of an address change", async () => {
  const { events, open, listener } = stage();
  await listener.rebind({ address: "a", settings: 1 }, open("a1"));
  await listener.rebind({ address: "a", settings: 2 }, open("a2"));
  deepEqual(events, ["open a1", "close a1", "open a2"]);
});

Deno.test("ReconfigurableListener: keeps the old listener when the new one fails, and retries later", async () => {
  const { events, open, listener } = stage();
  await listener.rebind({ address: "a" }, open("a"));
  await rejects(listener.rebind({ address: "b" }, open("taken")), /taken/);
  await listener.rebind({ address: "a" }, open("again"));
  await listener.rebind({ address: "b" }, open("b"));
  deepEqual(events, ["open a", "open taken", "open b", "close a"]);
});

Deno.test("LocalApiServer: logs a failure, and closes the old socket", async () => {
  const observer = new FakeObserver();
  const context = { host: new FakeHost() } as unknown as Context;
  await using server = new LocalApiServer(context, observer, {} as ApiAgent);
  const at = (socket: string) => server.apply({ api: { socket } } as AgentConfig);
  const dir = await Deno.makeTempDir({ prefix: "listeners-" });
  const sockets = async () => (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
  try {
    await at(`${dir}/a.sock`);
    equal(server.socket, `${dir}/a.sock`);
    await at(`${dir}/missing/b.sock`);
    deepEqual(await sockets(), []);
    equal(server.socket, undefined, "the start line does not list it");
    await at(`${dir}/b.sock`);
    deepEqual(await sockets(), ["b.sock"]);
  } finally {
    await server.apply({ api: {} } as AgentConfig);
    await Deno.remove(dir, { recursive: true });
  }
  match(
    JSON.stringify(observer.events),
    /failed to serve the local API: .*: the folder .*missing does not exist; create the folder of/,
  );
});

Deno.test("divideDescriptors: reserves descriptors for the agent's own work", () => {
  for (const limit of [256, 1_024, 4_096, 8_192, 1_048_576]) {
    const { httpConnections, criConnections } = divideDescriptors(limit);
    ok(3 * httpConnections + 2 * criConnections <= limit * 5 / 8, String(limit));
  }
  deepEqual(divideDescriptors(1_024), { httpConnections: 85, criConnections: 192 });
  deepEqual(divideDescriptors(8_192), { httpConnections: 128, criConnections: 1_024 });
  deepEqual(divideDescriptors(Infinity), { httpConnections: 128, criConnections: 1_024 });
});
