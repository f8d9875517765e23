import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import {
  connectionLimit,
  Listeners,
  NodeHealth,
  ReconfigurableListener,
  type ServedData,
} from "../../../lib/agent/listeners.ts";
import type { AgentConfig } from "../../../lib/config/mod.ts";
import type { Context } from "../../../lib/platform/mod.ts";
import { formatProblem } from "../../../lib/model/mod.ts";
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
  await listener.rebind("a", open("a"));
  await listener.rebind("a", open("again"));
  await listener.rebind("b", open("b"));
  await listener.rebind(undefined, open("never"));
  deepEqual(events, ["open a", "open b", "close a", "close b"]);
});

Deno.test("ReconfigurableListener: closes first when only the settings of an address change", async () => {
  const { events, open, listener } = stage();
  await listener.rebind("a", open("a1"), "1");
  await listener.rebind("a", open("a2"), "2");
  deepEqual(events, ["open a1", "close a1", "open a2"]);
});

Deno.test("ReconfigurableListener: keeps the old listener when the new one fails, and retries later", async () => {
  const { events, open, listener } = stage();
  await listener.rebind("a", open("a"));
  await rejects(listener.rebind("b", open("taken")), /taken/);
  await listener.rebind("a", open("again"));
  await listener.rebind("b", open("b"));
  deepEqual(events, ["open a", "open taken", "open b", "close a"]);
});

Deno.test("Listeners: logs a failure of the local API, and closes the old socket", async () => {
  const observer = new FakeObserver();
  const context = { host: new FakeHost() } as unknown as Context;
  await using listeners = new Listeners(context, observer, {} as ServedData);
  const at = (socket: string) => listeners.listen({ api: { socket } } as AgentConfig);
  const dir = await Deno.makeTempDir({ prefix: "listeners-" });
  const sockets = async () => (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
  try {
    await at(`${dir}/a.sock`);
    deepEqual(listeners.addresses, [`${dir}/a.sock`]);
    await at(`${dir}/missing/b.sock`);
    deepEqual(await sockets(), []);
    deepEqual(listeners.addresses, [], "the start line does not list it");
    await at(`${dir}/b.sock`);
    deepEqual(await sockets(), ["b.sock"]);
  } finally {
    await listeners.listen({ api: {} } as AgentConfig);
    await Deno.remove(dir, { recursive: true });
  }
  match(
    JSON.stringify(observer.events),
    /failed to serve the local API: .*: the folder .*missing does not exist; create the folder of/,
  );
});

Deno.test("connectionLimit: reserves descriptors for the agent's own work", () => {
  for (const limit of [256, 1_024, 4_096, 8_192, 1_048_576]) {
    const used = 3 * connectionLimit("http", limit) + 2 * connectionLimit("cri", limit);
    ok(used <= limit * 5 / 8, String(limit));
  }
  const cases = [[16, 4, 4], [1_024, 85, 192], [8_192, 128, 1_024], [
    Infinity,
    128,
    1_024,
  ]] as const;
  for (const [limit, http, cri] of cases) {
    deepEqual([connectionLimit("http", limit), connectionLimit("cri", limit)], [http, cri]);
  }
});

Deno.test("NodeHealth: shows why the last reload was rejected, until one succeeds", () => {
  const health = new NodeHealth(
    () => 0,
    () => ({ problems: [], daemons: [], images: [] }) as never,
  );
  const problem = { file: "/a.toml", place: "log.level", problem: "p", remedy: "r" };
  health.setRefusedConfig([problem]);
  deepEqual(health.status().refusedConfig, [formatProblem(problem)]);
  health.setRefusedConfig([]);
  equal("refusedConfig" in health.status(), false);
});
