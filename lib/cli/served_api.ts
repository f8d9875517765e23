import { BUILD_INFO } from "../assets/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { type Handler, listenUnix } from "../edge/mod.ts";
import { AgentError, messageOf, type Observer } from "../model/mod.ts";
import { type ApiAgent, openApi } from "../serve/mod.ts";
import type { Context } from "./context.ts";

/** Where local users and groups are listed. */
const GROUPS = "/etc/group";

/**
 * The local API, wherever the configuration in force puts it. Where it cannot be served that is
 * told, and the agent does the rest of its work.
 */
export class ServedApi implements AsyncDisposable {
  readonly #context: Context;
  readonly #observer: Observer;
  readonly #agent: ApiAgent;
  #listening: AsyncDisposable | undefined;
  #at: string | undefined;
  #app: Promise<{ fetch: Handler }> | undefined;

  constructor(context: Context, observer: Observer, agent: ApiAgent) {
    this.#context = context;
    this.#observer = observer;
    this.#agent = agent;
  }

  /** Serves as `config` says. Never rejects. */
  async apply({ api }: AgentConfig): Promise<void> {
    const at = JSON.stringify(api);
    if (at === this.#at && this.#listening !== undefined) return;
    try {
      // Ours is in the way of another mode for the same path.
      await this.#listening?.[Symbol.asyncDispose]();
      this.#listening = undefined;
      this.#at = at;
      const { socket, group } = api;
      if (socket === undefined) return;
      const gid = group === undefined ? undefined : await this.#gid(group);
      const handler: Handler = async (request) => await (await this.#open()).fetch(request);
      this.#listening = await listenUnix(socket, handler, gid === undefined ? {} : { gid });
    } catch (error) {
      const text = `the local API is not served: ${messageOf(error)}; make the folder of ` +
        `api.socket, choose another, or set it to "off"`;
      this.#observer.notify({ kind: "warning", code: "api", text });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listening?.[Symbol.asyncDispose]();
  }

  /** Its code is loaded when somebody asks. */
  #open(): Promise<{ fetch: Handler }> {
    return this.#app ??= openApi({ agent: this.#agent, version: BUILD_INFO.version });
  }

  /** @throws {AgentError} `invalid-config` when there is no such group. */
  async #gid(group: string): Promise<number> {
    if (/^[0-9]+$/.test(group)) return Number(group);
    const text = await this.#context.files.readText(GROUPS) ?? "";
    const line = text.split("\n").find((line) => line.startsWith(`${group}:`));
    const gid = line?.split(":")[2] ?? "";
    if (/^[0-9]+$/.test(gid)) return Number(gid);
    throw new AgentError(
      "invalid-config",
      `find the group of api.group: ${GROUPS} has no ${group}`,
    );
  }
}
