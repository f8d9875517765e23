import type { AgentConfig } from "../config/mod.ts";
import { type Handler, listenTcp, listenUnix } from "../edge/mod.ts";
import type { Observer } from "../model/mod.ts";
import type { OnRequest } from "../reconcile/mod.ts";
import { openOverlaybd } from "../serve/mod.ts";
import { Listening } from "./listening.ts";

/** The credential server for overlaybd, wherever the configuration in force puts it. */
export class ServedOverlaybd implements AsyncDisposable {
  readonly #onRequest: OnRequest;
  readonly #observer: Observer;
  readonly #unix = new Listening();
  readonly #tcp = new Listening();
  #app: Promise<{ fetch: Handler }> | undefined;

  constructor(observer: Observer, onRequest: OnRequest) {
    this.#onRequest = onRequest;
    this.#observer = observer;
  }

  /** Serves as `config` says. Never rejects. */
  async apply({ overlaybd: { socket = "", address } }: AgentConfig): Promise<void> {
    const handler: Handler = async (request) => await (await this.#open()).fetch(request);
    const failure = (key: string) => ({
      observer: this.#observer,
      code: "overlaybd",
      text: `the credential server for overlaybd (${key})`,
      mend: `set ${key} to another place, or to "off"`,
    });
    await this.#unix.tryMove(
      socket === "" ? undefined : { place: socket },
      () => listenUnix(socket, handler),
      failure("overlaybd.socket"),
    );
    await this.#tcp.tryMove(
      address && { place: JSON.stringify(address) },
      () => listenTcp(address ?? { hostname: "127.0.0.1", port: 0 }, handler),
      failure("overlaybd.address"),
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
