import {
  type CallOptions,
  defined,
  type KubeHttp,
  type KubeHttpFailure,
  type KubeHttpRequest,
  type KubeHttpResponse,
  type KubeStreamEnd,
  type KubeStreamHandlers,
  Secret,
} from "../../lib/model/mod.ts";

/** An open watch that a test controls. */
export interface FakeStream {
  readonly request: KubeHttpRequest;
  send(event: unknown): void;
  end(how?: KubeStreamEnd): void;
}

type Answer = KubeHttpResponse | KubeHttpFailure;

/** An HTTP client with responses that a test defines. */
export class FakeKubeHttp implements KubeHttp {
  readonly requests: KubeHttpRequest[] = [];
  readonly streams: FakeStream[] = [];
  openStreams = 0;
  answer: (path: string, request: KubeHttpRequest) => Answer;
  /** Returns the response of a watch that does not start. */
  refuse: ((path: string) => KubeStreamEnd | undefined) | undefined;

  /** Called when a watch has started. */
  onStream: () => void = () => {};

  constructor(answer: (path: string, request: KubeHttpRequest) => Answer) {
    this.answer = answer;
  }

  /** Paths and queries of all requests. */
  get paths(): string[] {
    return this.requests.map(({ path }) => decodeURIComponent(path));
  }

  request(request: KubeHttpRequest, _options: CallOptions = {}): Promise<Answer> {
    this.requests.push(request);
    return Promise.resolve(this.answer(decodeURIComponent(request.path), request));
  }

  async stream(
    request: KubeHttpRequest,
    handlers: KubeStreamHandlers,
    { signal }: CallOptions = {},
  ): Promise<KubeStreamEnd> {
    this.requests.push(request);
    const refused = this.refuse?.(decodeURIComponent(request.path));
    if (refused !== undefined) return refused;
    const { promise, resolve, reject } = Promise.withResolvers<KubeStreamEnd>();
    handlers.started();
    this.streams.push({
      request,
      send: (event) => handlers.line(JSON.stringify(event)),
      end: (how = { kind: "ended" }) => resolve(how),
    });
    this.onStream();
    const abort = () => reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    this.openStreams += 1;
    try {
      return await promise;
    } finally {
      this.openStreams -= 1;
      signal?.removeEventListener("abort", abort);
    }
  }

  [Symbol.dispose](): void {}
}

/** Returns a complete response. */
export function answered(value: unknown, status = 200, retryAfterMs?: number): KubeHttpResponse {
  const body = new Secret(JSON.stringify(value));
  return defined({ kind: "answered" as const, status, body, retryAfterMs });
}
