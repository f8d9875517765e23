import { deepEqual, equal } from "node:assert/strict";
import { writeAll } from "../../lib/platform/http1.ts";
import { join } from "node:path";
import { Conversation, PULL, pulled } from "../fakes/cri_conversation.ts";
import { type AuthText, type PodText, pullImageRequest } from "../fakes/cri_messages.ts";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, command as program, type Ended, simNode } from "./stage.ts";

const UNIT = new URL("../../lib/assets/nydus-auth-agent.service", import.meta.url);
/** Paths in the unit, which the stage replaces. */
const UNIT_UPSTREAM = "/run/containerd/containerd.sock";
const UNIT_LINK = "/run/nydus-auth-agent-cri/image.sock";

/** A node with a folder for the CRI proxy's sockets, and an agent with the proxy enabled. */
export interface CriProxyStage extends Omit<MemoryFolder, keyof AsyncDisposable> {
  readonly node: SimNode;
  /** The symlink that clients use. */
  readonly link: string;
  /** The runtime's socket; the test listens on it. */
  readonly upstream: string;
  /** The agent's configuration of the CRI proxy; more keys may follow. */
  readonly criProxy: string;
  /** The file with the pull credentials. */
  readonly state: string;
  /** Starts the agent with the unit's environment. */
  start(options?: {
    readonly waitReady?: boolean;
    readonly more?: string;
    /** Without the unit's environment, as by hand. */
    readonly bare?: boolean;
  }): Promise<AgentProcess>;
  /** Runs a command of the program with the agent's configuration. */
  run(...args: readonly string[]): Promise<Ended>;
  /** Kills the agent, and lets the unit's fallback delay pass. */
  kill(agent: AgentProcess): Promise<void>;
  /** Runs the command of the unit for an agent that has not come back in time. */
  fallBack(): Promise<void>;
}

/** Runs a test on a stage, whose folder is on a tmpfs if one can be mounted. */
export async function criProxyStage(
  run: (stage: CriProxyStage) => Promise<void>,
  { upstream: given }: { readonly upstream?: string } = {},
): Promise<void> {
  await using folder = await memoryFolder();
  const { dir, inMemory } = folder;
  const node = simNode();
  const link = join(dir, "image.sock");
  const upstream = given ?? join(dir, "containerd.sock");
  const criProxy = [
    "[providers.cri]",
    "enabled = true",
    `socket = "${dir}/cri.sock"`,
    `link = "${link}"`,
    `image_service = "${upstream}"`,
  ].join("\n");
  const unit = await Deno.readTextFile(UNIT);
  const unitEnv = Object.fromEntries(
    [...unit.matchAll(/^Environment=(NYDUS_AUTH_AGENT_\w+)=(.*)$/gm)]
      .map(([, name = "", value = ""]) => [name, value]),
  );
  const fallBack = async () => {
    const [, text = ""] = /^ExecStopPost=.* (\/bin\/ln .*)$/m.exec(unit) ?? [];
    const words = text.replace(UNIT_UPSTREAM, upstream).replace(UNIT_LINK, link).split(" ");
    equal(await command(words[0] ?? "", ...words.slice(1)), 0, text);
  };
  try {
    await run({
      dir,
      inMemory,
      node,
      link,
      upstream,
      state: join(dir, "cri-pulls.json"),
      async start({ more = criProxy, bare = false, ...options } = {}) {
        return await AgentProcess.start(node, { more, env: bare ? {} : unitEnv }, options);
      },
      criProxy,
      run: (...args) => program([...args, "--config", join(node.dir, "agent.toml")]),
      async kill(agent) {
        await agent[Symbol.asyncDispose]();
        await fallBack();
      },
      fallBack,
    });
  } finally {
    await node[Symbol.asyncDispose]();
  }
}

/** A folder for the CRI proxy's sockets. */
export interface MemoryFolder extends AsyncDisposable {
  readonly dir: string;
  /** Whether it is on a tmpfs; without the right to mount one, the other path is tested. */
  readonly inMemory: boolean;
}

/**
 * Creates a folder on a tmpfs of its own, if one can be mounted. Not in `/dev/shm`: the binary has no
 * permission to write below `/dev`.
 */
export async function memoryFolder(): Promise<MemoryFolder> {
  const dir = await Deno.makeTempDir({ prefix: "cri-" });
  const inMemory = (await command("mount", "-t", "tmpfs", "-o", "size=64m", "none", dir)) === 0;
  return {
    dir,
    inMemory,
    async [Symbol.asyncDispose]() {
      if (inMemory) await command("umount", "-l", dir);
      await Deno.remove(dir, { recursive: true });
    },
  };
}

/** The exit code of a command that ends by itself. */
async function command(name: string, ...args: readonly string[]): Promise<number> {
  return (await new Deno.Command(name, { args: [...args], stderr: "null" }).output()).code;
}

/** Performs one successful pull on a connection of its own; `runtime` listens behind the proxy. */
export async function pullThrough(
  path: string,
  runtime: Deno.UnixListener,
  pull: { readonly image: string; readonly auth?: AuthText; readonly pod?: PodText },
): Promise<void> {
  const client = await Deno.connect({ transport: "unix", path });
  const server = await runtime.accept();
  const conversation = new Conversation();
  const message = pullImageRequest(pull);
  const answer = pulled(`sha256:${"a".repeat(64)}`);
  for (
    const { from, bytes } of [
      ...conversation.opening(),
      ...conversation.call({ path: PULL, message, answer }),
    ]
  ) {
    const [sender, receiver] = from === "client" ? [client, server] : [server, client];
    const arriving = readExactly(receiver, bytes.length);
    await writeAll(sender, bytes);
    deepEqual(await arriving, bytes);
  }
  client.close();
  server.close();
}

export async function readExactly(connection: Deno.UnixConn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let done = 0; done < count;) {
    const read = await connection.read(bytes.subarray(done));
    if (read === null) throw new Error("the connection ended");
    done += read;
  }
  return bytes;
}

/** Listens on a socket and echoes what it receives. */
export function echoOn(path: string): Deno.UnixListener {
  const listener = Deno.listen({ transport: "unix", path });
  void (async () => {
    for await (const connection of listener) {
      void connection.readable.pipeTo(connection.writable).catch(() => {});
    }
  })();
  return listener;
}

/** Sends a request through a path, and reads the echo. */
export async function callOnce(path: string): Promise<void> {
  const connection = await Deno.connect({ transport: "unix", path });
  const request = crypto.getRandomValues(new Uint8Array(1_000));
  await writeAll(connection, request);
  deepEqual(await readExactly(connection, request.length), request);
  connection.close();
}
