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
    if (bookmarkMs === undefined || query.get("allowWatchBookmarks") !== "true") return;
    this.#bookmarks = setInterval(() => {
      const metadata = { resourceVersion: String(version()) };
      this.send({ type: "BOOKMARK", object: { kind: KUBE_KINDS[resource], metadata } });
    }, bookmarkMs);
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
