import { join } from "@std/path";
import { AgentProcess, command, simNode } from "../e2e/stage.ts";
import type { SimDaemon, SimNode, SimPluginSettings } from "../../lib/simnode/mod.ts";
import { ConfigFiles, Reader } from "./watchers.ts";

/** How long the plugin's tokens live; a fault of the source that lasts longer spoils reads. */
export const TOKEN_LIFE_MS = 20_000;

/** A node with an agent, readers that never stop, and what the faults need of them. */
export class FaultStage implements AsyncDisposable {
  readonly node: SimNode;
  readonly reader: Reader;
  readonly files: ConfigFiles;
  /** Whether the daemons' configuration files are on a small tmpfs of their own. */
  readonly isSmallDisk: boolean;
  #agent: AgentProcess;

  private constructor(node: SimNode, agent: AgentProcess, isSmallDisk: boolean) {
    this.node = node;
    this.#agent = agent;
    this.isSmallDisk = isSmallDisk;
    this.reader = new Reader(node);
    this.files = new ConfigFiles(node);
  }

  /** @param plugin How the plugin behaves while nothing is broken. */
  static async start(
    plugin: Partial<SimPluginSettings> = { cacheDuration: "3s", lifeMs: TOKEN_LIFE_MS },
  ): Promise<FaultStage> {
    const node = simNode({ plugin });
    const isSmallDisk = await mountSmall(join(node.root, "config"));
    const token = node.tokenRegistry.host;
    const password = node.passwordRegistry.host;
    await node.addDaemon({ id: "d1", mode: "dedicated", images: [`${token}/shop/app:1`] });
    await node.addDaemon({
      id: "s1",
      mode: "shared",
      images: [`${token}/a:1`, `${token}/b:1`, `${password}/c:1`],
    });
    const old = [`${password}/d:1`];
    await node.addDaemon({ id: "d2", mode: "dedicated", images: old, version: "2.4.1" });
    const agent = await startAgent(node);
    const stage = new FaultStage(node, agent, isSmallDisk);
    await agent.until("the newest credential in every mount", () => node.allNewest());
    return stage;
  }

  get agent(): AgentProcess {
    return this.#agent;
  }

  daemon(id: string): SimDaemon {
    const daemon = this.node.daemons.get(id);
    if (daemon === undefined) throw new Error(`there is no daemon ${id}`);
    return daemon;
  }

  /** Tokens that were issued, and have ended. */
  async expiries(): Promise<number> {
    const text = await Deno.readTextFile(join(this.node.pluginDir, "issued")).catch(() => "");
    return text.split("\n").filter((line) => line !== "" && Number(line.split(" ")[0]) < Date.now())
      .length;
  }

  /** Has the agent ask every source, past what they said of caches. */
  async renewAll(): Promise<void> {
    const { code, err } = await command([
      "renew",
      "--all",
      "--config",
      join(this.node.dir, "agent.toml"),
    ]);
    if (code !== 0) throw new Error(`renew --all: ${err}`);
  }

  /** Kills the agent, and starts it anew as systemd would. */
  async restartAgent(): Promise<void> {
    await this.#agent[Symbol.asyncDispose]();
    this.#agent = await startAgent(this.node);
  }

  /** Another password; the registry takes the old one for a while, as a careful rotation has it. */
  rotatePassword(): void {
    this.node.rotatePassword(crypto.randomUUID(), 15_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.reader[Symbol.asyncDispose]();
    await this.#agent[Symbol.asyncDispose]();
    if (this.isSmallDisk) await run("umount", "-l", join(this.node.root, "config"));
    await this.node[Symbol.asyncDispose]();
  }
}

async function startAgent(node: SimNode): Promise<AgentProcess> {
  return await AgentProcess.start(node, {
    renewal: 'check_interval = "500ms"\nrefresh_interval = "2s"',
    more: '[providers.kubelet]\ntimeout = "2s"',
  });
}

/** Only root may: without it the faults of the disk are left out. */
async function mountSmall(path: string): Promise<boolean> {
  return await run("mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "none", path) === 0;
}

/** The exit code of a program that ends by itself. */
export async function run(name: string, ...args: readonly string[]): Promise<number> {
  const command = new Deno.Command(name, { args: [...args], stdout: "null", stderr: "null" });
  return (await command.output()).code;
}
