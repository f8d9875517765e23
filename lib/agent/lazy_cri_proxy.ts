import { listensOn, pointLink, readLink, removeFile } from "../platform/mod.ts";
import {
  type Candidate,
  type CriProxyStatus,
  type ImageReference,
  messageOf,
  type Observer,
} from "../model/mod.ts";
import type { CriPulls } from "../providers/mod.ts";
import type { Context } from "../platform/mod.ts";
import type { CriProxy } from "./cri_proxy.ts";
import { type CriConfig, pullCachePath } from "./cri_proxy_link.ts";

/** The CRI proxy of a running agent. Nothing of it is loaded before a configuration enables it. */
export class LazyCriProxy implements AsyncDisposable, CriPulls {
  readonly #context: Context;
  readonly #observer: Observer;
  #criProxy: CriProxy | undefined;
  #isEnabled = false;
  #applying: Promise<void> = Promise.resolve();
  #pulled: (image: ImageReference) => void = () => {};

  constructor(context: Context, observer: Observer) {
    this.#context = context;
    this.#observer = observer;
  }

  /** Calls back when a pull has succeeded; one listener at a time. */
  onPull(listener: (image: ImageReference) => void): void {
    this.#pulled = listener;
  }

  /** Serves as a configuration says, after those before it. Never rejects. */
  apply(config: CriConfig): Promise<void> {
    return this.#applying = this.#applying.then(() => this.#apply(config));
  }

  async #apply(config: CriConfig): Promise<void> {
    this.#isEnabled = config.enabled;
    if (config.enabled && this.#criProxy === undefined) {
      const { CriProxy } = await import("./cri_proxy.ts");
      this.#criProxy = new CriProxy(this.#context, this.#observer, (image) => this.#pulled(image));
    }
    if (this.#criProxy !== undefined) return await this.#criProxy.apply(config);
    await this.#forgetCached(config);
    await this.#leaveThePath(config);
  }

  lookup(image: ImageReference): ReturnType<CriPulls["lookup"]> {
    return this.#criProxy?.book.lookup(image);
  }

  confirmed(image: ImageReference): ReturnType<CriPulls["lookup"]> {
    return this.#criProxy?.book.confirmed(image);
  }

  /** What a mount without a credential gets when no provider has one. */
  remembered(image: ImageReference): Candidate | undefined {
    const pull = this.#isEnabled ? this.#criProxy?.book.remembered(image) : undefined;
    return pull && {
      credential: pull.credential,
      origin: "from a remembered pull over CRI",
      fetchedAtMs: pull.seenAtMs,
      watched: true,
    };
  }

  pods(image: ImageReference): readonly { readonly uid: string }[] {
    return this.#criProxy?.book.pods(image) ?? [];
  }

  /** Undefined while it is not enabled. */
  status(): CriProxyStatus | undefined {
    return this.#isEnabled ? this.#criProxy?.status() : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#applying;
    await this.#criProxy?.[Symbol.asyncDispose]();
  }

  /** What a life before this one kept is wanted no more, unless it is another agent's. */
  async #forgetCached({ socket }: CriConfig): Promise<void> {
    if (!await listensOn(socket)) await removeFile(pullCachePath(socket)).catch(() => {});
  }

  /** A life before this one may have left the link where nobody listens any more. */
  async #leaveThePath({ link, socket, imageServiceSocket }: CriConfig): Promise<void> {
    if (link === undefined || await readLink(link) !== socket) return;
    try {
      await pointLink(link, imageServiceSocket);
    } catch (error) {
      const text = `CRI pulls of those who use ${link} fail: ${messageOf(error)}`;
      this.#observer.notify({ kind: "warning", code: "cri-proxy", text });
    }
  }
}
