import type { KubeCall } from "./kube_calls.ts";
import { KUBE_KINDS } from "./kube_objects.ts";

/** One open watch. */
export class SimWatch {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #all: Set<SimWatch>;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #bookmarks: ReturnType<typeof setInterval> | undefined;
  #limit: ReturnType<typeof setTimeout> | undefined;
  #follows: Disposable | undefined;
  readonly #bookmark: (more: Readonly<Record<string, unknown>>) => void;
  readonly #wantsBookmarks: boolean;

  constructor(
    { query, resource }: KubeCall,
    all: Set<SimWatch>,
    bookmarkMs: number | undefined,
    version: () => number,
  ) {
    this.#all = all;
    all.add(this);
    this.stream = new ReadableStream({
      start: (controller: ReadableStreamDefaultController<Uint8Array>) => {
        this.#controller = controller;
      },
      cancel: () => void this.#forget(),
    });
    const seconds = Number(query.get("timeoutSeconds") ?? 1_800);
    this.#limit = setTimeout(() => this.end(), seconds * 1_000);
    this.#bookmark = (more) => {
      const metadata = { resourceVersion: String(version()), ...more };
      this.send({ type: "BOOKMARK", object: { kind: KUBE_KINDS[resource], metadata } });
    };
    this.#wantsBookmarks = query.get("allowWatchBookmarks") === "true";
    if (bookmarkMs === undefined || !this.#wantsBookmarks) return;
    this.#bookmarks = setInterval(() => this.#bookmark({}), bookmarkMs);
  }

  /** Everything that was there at the beginning has been told: newer servers say so. */
  endInitialEvents(): void {
    if (!this.#wantsBookmarks) return;
    this.#bookmark({ annotations: { "k8s.io/initial-events-end": "true" } });
  }

  owns(follows: Disposable): void {
    this.#follows = follows;
  }

  send(event: unknown): void {
    this.#controller?.enqueue(new TextEncoder().encode(`${JSON.stringify(event)}\n`));
  }

  end(): void {
    this.#forget()?.close();
  }

  cut(halfSent: boolean): void {
    if (halfSent) {
      const half = '{"type":"MODIFIED","object":{"metadata":{"name":"ha';
      this.#controller?.enqueue(new TextEncoder().encode(half));
    }
    this.end();
  }

  #forget(): ReadableStreamDefaultController<Uint8Array> | undefined {
    const controller = this.#controller;
    this.#controller = undefined;
    this.#all.delete(this);
    this.#follows?.[Symbol.dispose]();
    clearInterval(this.#bookmarks);
    clearTimeout(this.#limit);
    return controller;
  }
}
