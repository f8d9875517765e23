import { BUILD_INFO } from "../assets/mod.ts";
import { dirname } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { type Handler, listenUnix } from "../platform/mod.ts";
import { AgentError, type FileSystem, type Observer } from "../model/mod.ts";
import { type ApiAgent, loadApi } from "../api/mod.ts";
import type { Context } from "../platform/mod.ts";
import { divideDescriptors } from "./descriptor_budget.ts";
import { Listening } from "./listening.ts";

/** Where local groups are listed. */
const GROUPS = "/etc/group";

/** The local API, wherever the configuration in force puts it. */
export class ServedApi implements AsyncDisposable {
  readonly #context: Context;
  readonly #observer: Observer;
  readonly #agent: ApiAgent;
  readonly #listening = new Listening();
  #app: Promise<{ fetch: Handler }> | undefined;

  constructor(context: Context, observer: Observer, agent: ApiAgent) {
    this.#context = context;
    this.#observer = observer;
    this.#agent = agent;
  }

  /** Serves as `config` says. Never rejects. */
  async apply({ api: { socket, group } }: AgentConfig): Promise<void> {
    const endpoint = socket === undefined ? undefined : { place: socket, settings: group };
    const open = async () => {
      const gid = group === undefined ? undefined : await groupId(this.#context.files, group);
      const handler: Handler = async (request) => await (await this.#open()).fetch(request);
      const { httpConnections: maxConnections } = divideDescriptors(
        await this.#context.host.descriptorLimit(),
      );
      const warn = (text: string) =>
        this.#observer.notify({ kind: "warning", code: "api", text: `${socket}: ${text}` });
      const options = { maxConnections, warn, ...(gid !== undefined && { gid }) };
      const listener = await listenUnix(socket ?? "", handler, options);
      if (gid !== undefined) await this.#warnAboutAccess(listener.path, gid);
      return listener;
    };
    await this.#listening.tryMove(endpoint, open, {
      observer: this.#observer,
      code: "api",
      text: "the local API",
      remedy: `make the folder of api.socket, choose another, or set it to "off"`,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listening[Symbol.asyncDispose]();
  }

  /** Its code is loaded when somebody asks. */
  #open(): Promise<{ fetch: Handler }> {
    return this.#app ??= loadApi({ agent: this.#agent, version: BUILD_INFO.version });
  }

  /** A socket is of no use to those who may not pass the folders above it. */
  async #warnAboutAccess(socket: string, gid: number): Promise<void> {
    for (let folder = dirname(socket);; folder = dirname(folder)) {
      const { mode = 0, gid: owner } = await this.#context.files.stat(folder) ?? {};
      if ((mode & (owner === gid ? 0o010 : 0o001)) === 0) {
        const text = `members of the group of api.group cannot enter ${folder}; let others pass ` +
          "it: of the unit's own folder, by RuntimeDirectoryMode=0711 (docs/api.md)";
        this.#observer.notify({ kind: "warning", code: "api", text });
      }
      if (folder === dirname(folder)) return;
    }
  }
}

/**
 * The number of a local group that is given by name or number.
 *
 * @throws {AgentError} `invalid-config` when there is no such group.
 */
export async function groupId(files: FileSystem, group: string): Promise<number> {
  if (/^[0-9]+$/.test(group)) return Number(group);
  const text = await files.readText(GROUPS) ?? "";
  const line = text.split("\n").find((line) => line.startsWith(`${group}:`));
  const gid = line?.split(":")[2] ?? "";
  if (/^[0-9]+$/.test(gid)) return Number(gid);
  throw new AgentError("invalid-config", `find the group of api.group: ${GROUPS} has no ${group}`);
}
