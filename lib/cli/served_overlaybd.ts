import type { AgentConfig } from "../config/mod.ts";
import { type Handler, listenTcp, listenUnix } from "../edge/mod.ts";
import type { Observer } from "../model/mod.ts";
import type { OnRequest } from "../reconcile/mod.ts";
import { openOverlaybd } from "../serve/mod.ts";
import { Listening } from "./listening.ts";

/** The credential server for overlaybd, wherever the configuration in force puts it. */
export class ServedOverlaybd implements AsyncDisposable {
  readonly #onRequest: OnRequest;
  readonly #unix: Listening;
  readonly #tcp: Listening;
  #app: Promise<{ fetch: Handler }> | undefined;

  constructor(observer: Observer, onRequest: OnRequest) {
    this.#onRequest = onRequest;
    const told = (key: string) => ({
      code: "overlaybd",
      text: `the credential server for overlaybd (${key})`,
      mend: `set ${key} to another place, or to "off"`,
    });
    this.#unix = new Listening(observer, told("overlaybd.socket"));
    this.#tcp = new Listening(observer, told("overlaybd.address"));
  }

  /** Serves as `config` says. Never rejects. */
  async apply({ overlaybd: { socket = "", address } }: AgentConfig): Promise<void> {
    const handler: Handler = async (request) => await (await this.#open()).fetch(request);
    await this.#unix.apply(socket || undefined, () => listenUnix(socket, handler));
    await this.#tcp.apply(
      address && JSON.stringify(address),
      () => listenTcp(address ?? { hostname: "127.0.0.1", port: 0 }, handler),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#unix[Symbol.asyncDispose]();
    await this.#tcp[Symbol.asyncDispose]();
  }

  /** Its code is loaded when somebody asks. */
  #open(): Promise<{ fetch: Handler }> {
    return this.#app ??= openOverlaybd({
      credential: async (image, options) => {
        const { answer } = await this.#onRequest.credential({ image, labels: {} }, options);
        return answer?.candidate.credential;
      },
    });
  }
}
