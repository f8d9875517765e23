import { BUILD_INFO } from "../assets/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { type Handler, listenUnix } from "../edge/mod.ts";
import { AgentError, type Observer } from "../model/mod.ts";
import { type ApiAgent, openApi } from "../serve/mod.ts";
import type { Context } from "./context.ts";
import { Listening } from "./listening.ts";

/** Where local groups are listed. */
const GROUPS = "/etc/group";

/** The local API, wherever the configuration in force puts it. */
export class ServedApi implements AsyncDisposable {
  readonly #context: Context;
  readonly #agent: ApiAgent;
  readonly #listening: Listening;
  #app: Promise<{ fetch: Handler }> | undefined;

  constructor(context: Context, observer: Observer, agent: ApiAgent) {
    this.#context = context;
    this.#agent = agent;
    this.#listening = new Listening(observer, {
      code: "api",
      text: "the local API",
      mend: `make the folder of api.socket, choose another, or set it to "off"`,
    });
  }

  /** Serves as `config` says. Never rejects. */
  async apply({ api: { socket, group } }: AgentConfig): Promise<void> {
    const at = socket && JSON.stringify([socket, group]);
    await this.#listening.apply(at, async () => {
      const gid = group === undefined ? undefined : await this.#gid(group);
      const handler: Handler = async (request) => await (await this.#open()).fetch(request);
      return await listenUnix(socket ?? "", handler, gid === undefined ? {} : { gid });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listening[Symbol.asyncDispose]();
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
