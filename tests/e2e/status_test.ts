/** The status summary is the same everywhere, and each level has an exit code. */
import { equal, match, ok } from "node:assert/strict";
import { join } from "@std/path";
import { existsSync } from "node:fs";
import { AgentProcess, command, simNode } from "./stage.ts";

Deno.test("status: prints the summary of the page and /readyz, with exit codes 0, 3 and 1", async () => {
  await using node = simNode({
    plugin: { shape: "ecr", lifetimeMs: 600_000, cacheDuration: "2s" },
  });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  const config = join(node.dir, "agent.toml");
  {
    await using agent = await AgentProcess.start(node);
    await agent.until("healthy", async () => {
      const { level } = JSON.parse((await agent.get("/v1/status")).body).health;
      return level === "ok" && await node.allNewest();
    });
    const healthy = await command(["status", "--config", config]);
    match(
      healthy.out,
      /^ok: 1 mount has a valid credential; (the next renewal is in|a renewal is due now)/,
    );
    equal(healthy.code, 0);
    await agent.until("a line in the log", () => /info health-ok: /.test(agent.log));

    node.setPlugin({ mode: "fail" });
    await agent.until("a warning", async () => {
      const { level } = JSON.parse((await agent.get("/v1/status")).body).health;
      return level === "warning";
    });
    const warned = await command(["status", "--config", config, "--output", "json"]);
    equal(warned.code, 3);
    const { level, summary } = JSON.parse(warned.out).health;
    equal(level, "warning");
    const shape = (text: string) => text.replace(/\d+(\.\d+)?(ms|s|m|h)|\d+ attempts?/g, "N");
    const ready = (await agent.get("/readyz?verbose")).body;
    ok(shape(ready).includes(shape(`warning: ${summary}`)), `${ready}\n${summary}`);
    equal(shape(summaryOn((await agent.get("/")).body)), shape(`warning: ${summary}`));
    const own = await agent.get(`/images?ref=${encodeURIComponent(image)}`);
    equal(own.status, 200);
    match(own.body, /renewal-failed/);
  }
  const gone = await command(["status", "--config", config]);
  equal(gone.code, 1);
  match(
    gone.err,
    /^error: failed to connect to the agent at http:\/\/127\.0\.0\.1:\d+\/v1\/status: .*; is it running\?\n$/,
  );
});

/** Returns the summary on a page as text. */
function summaryOn(page: string): string {
  const [, html = ""] = /<p class="summary[^>]*>([^]*?)<\/p>/.exec(page.split("<main>")[1] ?? "") ??
    [];
  return html.replace(/<[^>]+>/g, "").replaceAll("&#39;", "'").replaceAll("&quot;", '"');
}

/** Receives notifications as a service manager does; keeps the last `STATUS=`. */
class ServiceManager implements Disposable {
  readonly path: string;
  status = "";
  readonly #socket: Deno.DatagramConn;

  constructor(dir: string) {
    this.path = join(dir, "notify.sock");
    this.#socket = Deno.listenDatagram({ transport: "unixpacket", path: this.path });
    void this.#listen();
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  async #listen(): Promise<void> {
    for await (const [bytes] of this.#socket) {
      const text = new TextDecoder().decode(bytes);
      this.status = /^STATUS=(.*)$/m.exec(text)?.[1] ?? this.status;
    }
  }
}

/** Replaces times and counts, which change between two queries. */
function shapeOf(text: string): string {
  return text.replace(/(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+/g, "T")
    .replace(/\d+ attempts?/g, "N")
    .replace(/a renewal is due now|the next renewal is in T/g, "R");
}

Deno.test("status summary: is the same in all six places, whatever the worst state", async () => {
  await using node = simNode({
    plugin: { shape: "ecr", lifetimeMs: 600_000, cacheDuration: "2s" },
  });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  using serviceManager = new ServiceManager(node.dir);
  // With a watchdog it reports more often.
  const env = { NOTIFY_SOCKET: serviceManager.path, WATCHDOG_USEC: "1000000" };
  await using agent = await AgentProcess.start(node, { env });
  const config = join(node.dir, "agent.toml");
  const isReported = async (level: string, about: string) => {
    const { health } = JSON.parse((await agent.get("/v1/status")).body);
    if (health.level !== level || health.about !== about) return false;
    const logged = agent.log.matchAll(/ health-(\w+): (.*) about=[a-z]+$/gm);
    const summaries = [
      summaryOn((await agent.get("/")).body).replace(/^\w+: /, ""),
      serviceManager.status,
      (await command(["status", "--config", config])).out.split("\n")[0]?.replace(/^\w+: /, ""),
      (await agent.get("/readyz?verbose")).body.trimEnd().split("\n").at(-2)?.replace(/^\w+: /, ""),
      [...logged].at(-1)?.[2],
      health.summary,
    ];
    return new Set(summaries.map((text) => shapeOf(text ?? ""))).size === 1;
  };
  await agent.until("ok in all places", () => isReported("ok", "healthy"));
  node.setPlugin({ mode: "fail" });
  await agent.until("a warning in all places", () => isReported("warning", "credentials"));
  node.setPlugin({ mode: "issue" });
  await agent.until("ok again in all places", () => isReported("ok", "healthy"));
});

Deno.test("status: returns exit code 4 for an expired credential", async () => {
  await using node = simNode({ plugin: { shape: "ecr", lifetimeMs: 3_000, cacheDuration: "1s" } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  await using agent = await AgentProcess.start(node);
  node.setPlugin({ mode: "fail" });
  await agent.until("the expiry", async () => {
    const { images, health } = JSON.parse((await agent.get("/v1/status")).body);
    return images[0]?.window === "expired" && health.level === "critical";
  });
  const { code, out } = await command(["status", "--config", join(node.dir, "agent.toml")]);
  equal(code, 4);
  match(
    out,
    /^critical: the credential of .* expired .* ago; reads of data that nydusd has not cached/,
  );
  // Logged once, at the expiry or just before it.
  await agent.until(
    "a line in the log",
    () => / error health-critical: .*the cred/.test(agent.log),
  );
});

Deno.test("status: --address selects the agent, whatever answers on the API socket", async () => {
  await using node = simNode();
  await using other = await AgentProcess.start(node, { env: { NODE_NAME: "node-7" } });
  const config = join(node.dir, "agent.toml");
  const status = (...more: readonly string[]) => command(["status", "--config", config, ...more]);
  equal((await status("--address", other.base.slice("http://".length))).code, 0);
  const gone = await status("--address", "127.0.0.1:9");
  equal(gone.code, 1);
  match(gone.err, /^error: failed to connect to the agent at http:\/\/127\.0\.0\.1:9\//);
});

Deno.test("status: queries the agent although the configuration file is invalid", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node, { env: { NODE_NAME: "node-7" } });
  const config = join(node.dir, "agent.toml");
  const address = agent.base.slice("http://".length);
  await Deno.writeTextFile(config, "nonsense");
  const { code, out, err } = await command(
    ["status", "--config", config, "--address", address, "--output", "json"],
  );
  equal(code, 0, err);
  equal(JSON.parse(out).hostname, "node-7");
  match(err, /^warning: .*agent\.toml/);
  Deno.kill(agent.pid, "SIGHUP");
  await agent.until("the refusal", async () => {
    const { refusedConfig = [] } = JSON.parse((await agent.get("/v1/status")).body);
    return refusedConfig[0]?.includes("agent.toml");
  });
  const refused = await command(["status", "--config", config, "--address", address]);
  equal(refused.code, 3);
  match(
    refused.out,
    /^warning: failed to reload the configuration; the previous configuration stays in effect: /,
  );
});

Deno.test("status: the hostname is that of /etc/hostname without NODE_NAME", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node);
  const name = (await Deno.readTextFile("/etc/hostname").catch(() => "")).trim();
  equal(JSON.parse((await agent.get("/v1/status")).body).hostname ?? "", name);
});

Deno.test("run: removes temporary files of a killed agent at startup, and logs it", async () => {
  await using node = simNode();
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  const folder = join(node.root, "config", "d1");
  const left = join(folder, `.config.json.${crypto.randomUUID()}.tmp`);
  await Deno.writeTextFile(left, "secret", { mode: 0o600 });
  await using agent = await AgentProcess.start(node);
  await agent.until("the log line", () => /removed 1 temporary file/.test(agent.log));
  ok(!existsSync(left));
});
