import {
  answerTokenRequest,
  EXPIRED,
  forbidden,
  type KubeCall,
  notFound,
  readCall,
  statusAnswer,
} from "./kube_calls.ts";
import { KUBE_KINDS, type KubeEvent, KubeObjects, type KubeSelection } from "./kube_objects.ts";
import {
  type Listening,
  serveHttp2,
  serveHttps,
  type SimKubeCertificates,
} from "./kube_listeners.ts";
import { portIsFree, reservePort } from "./ports.ts";

/** Faults of a simulated API server; may be changed at any time. */
export interface SimKubeFaults {
  /** Response to calls of these verbs (default: all). */
  status?: {
    readonly code: number;
    readonly retryAfter?: number;
    readonly verbs?: readonly KubeCall["verb"][];
  };
  /** Delay of lists. */
  listDelayMs?: number;
  /** Ends watches immediately. */
  cutWatches?: true;
}

/** Limit of paginated lists that were not read to their end. */
const MAX_CONTINUES = 1_000;

export type { SimKubeCertificates };

/**
 * A simulated Kubernetes API server with the calls that the agent uses: get, list with pagination,
 * watch with bookmarks, and TokenRequest; with bearer tokens, client certificates, and authorization
 * by a function. For tests only, so it is not exported from `mod.ts`.
 */
export class SimKubeApi implements AsyncDisposable {
  readonly objects = new KubeObjects();
  readonly faults: SimKubeFaults = {};
  /** Bearer tokens and their users. */
  readonly tokens = new Map<string, string>();
  /** Returns whether a call is authorized. Default: all calls. */
  allows: (call: KubeCall) => boolean = () => true;
  /** All authenticated calls, in order. */
  readonly calls: KubeCall[] = [];
  /** Client ports of the calls, one per connection. */
  readonly peers = new Set<number>();
  /** Number of unauthenticated calls. */
  refusals = 0;
  bookmarkMs = 1_000;
  readonly #certificates: SimKubeCertificates;
  readonly #continues = new Map<string, readonly unknown[]>();
  readonly #watches = new Set<SimWatch>();
  #served: Listening | undefined;
  readonly #reserved = reservePort();
  readonly #port = this.#reserved.port;

  private constructor(certificates: SimKubeCertificates) {
    this.#certificates = certificates;
  }

  static async start(certificates: SimKubeCertificates): Promise<SimKubeApi> {
    const api = new SimKubeApi(certificates);
    await api.up();
    return api;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** Number of open watches. */
  get watchCount(): number {
    return this.#watches.size;
  }

  /** Starts listening, on the same port every time. */
  async up(certificates = this.#certificates): Promise<void> {
    if (this.#served !== undefined) return;
    await portIsFree(this.#port); // the previous server closes asynchronously
    this.#served = certificates.clientCa === undefined
      ? serveHttp2(this.#port, certificates, this.#answer)
      : await serveHttps(this.#port, certificates, this.#answer);
  }

  /** Stops listening and closes all connections. */
  async down(): Promise<void> {
    const served = this.#served;
    this.#served = undefined;
    this.cutWatches();
    await served?.close();
  }

  /** Ends all open watches, optionally in the middle of an event. */
  cutWatches({ halfSent = false } = {}): void {
    for (const watch of [...this.#watches]) watch.cut(halfSent);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
    this.#reserved[Symbol.dispose]();
  }

  #answer = async (request: Request, commonName: string, peerPort: number): Promise<Response> => {
    this.peers.add(peerPort);
    const url = new URL(request.url);
    const bearer = /^Bearer (.+)$/.exec(request.headers.get("authorization") ?? "")?.[1] ?? "";
    const user = this.tokens.get(bearer) ?? commonName;
    if (user === "") {
      this.refusals++;
      return statusAnswer(401, "Unauthorized", "Unauthorized");
    }
    const call = readCall(request.method, url, user);
    if (call === undefined) return statusAnswer(404, "NotFound", "there is no such resource");
    this.calls.push(call);
    const { status } = this.faults;
    if (status !== undefined && (status.verbs?.includes(call.verb) ?? true)) {
      const headers = status.retryAfter === undefined
        ? {}
        : { "retry-after": String(status.retryAfter) };
      return statusAnswer(status.code, "Simulated", "simulated", headers as Record<string, string>);
    }
    if (!this.allows(call)) return forbidden(call);
    switch (call.verb) {
      case "get":
        return this.#get(call);
      case "list":
        return await this.#list(call);
      case "watch":
        return this.#watch(call);
      case "create":
        return answerTokenRequest(call, this.objects, await request.text());
    }
  };

  #get(call: KubeCall): Response {
    const { resource, namespace = "", name = "" } = call;
    const object = this.objects.get(resource, namespace, name);
    return object === undefined ? notFound(call) : Response.json(object);
  }

  async #list(call: KubeCall): Promise<Response> {
    const { listDelayMs = 0 } = this.faults;
    if (listDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, listDelayMs));
    const { resource, query } = call;
    const token = query.get("continue") ?? "";
    const rest = token === ""
      ? this.objects.select(selectionOf(call)).map(([, object]) => object)
      : this.#continues.get(token);
    if (rest === undefined) return Response.json(EXPIRED, { status: 410 });
    const limit = Number(query.get("limit") ?? 0) || Infinity;
    const metadata: Record<string, unknown> = { resourceVersion: String(this.objects.version) };
    if (rest.length > limit) {
      metadata["continue"] = crypto.randomUUID();
      metadata["remainingItemCount"] = rest.length - limit;
      this.#continues.set(String(metadata["continue"]), rest.slice(limit));
      const [oldest] = this.#continues.keys();
      if (this.#continues.size > MAX_CONTINUES && oldest) this.#continues.delete(oldest);
    }
    const kind = `${KUBE_KINDS[resource]}List`;
    // Items of a list have neither kind nor version, as with a real server.
    const items = rest.slice(0, Math.min(limit, rest.length)).map((item) => {
      const { kind: _kind, apiVersion: _version, ...others } = item as Record<string, unknown>;
      return others;
    });
    return Response.json({ kind, apiVersion: "v1", metadata, items });
  }

  /** Expires all continue tokens, as a server does after some minutes. */
  expireContinues(): void {
    this.#continues.clear();
  }

  #watch(call: KubeCall): Response {
    const selection = selectionOf(call);
    const requested = call.query.get("resourceVersion") ?? "";
    const from = requested === "" || requested === "0" ? undefined : Number(requested);
    const isGone = from !== undefined && from < this.objects.oldestVersion;
    const watch = new SimWatch(
      call,
      this.#watches,
      isGone ? undefined : this.bookmarkMs,
      () => this.objects.version,
    );
    if (isGone) {
      watch.send({ type: "ERROR", object: EXPIRED });
      watch.end();
    } else if (this.faults.cutWatches) {
      watch.end();
    } else {
      const first: Pick<KubeEvent, "type" | "object">[] = from === undefined
        ? this.objects.select(selection).map(([, object]) => ({ type: "ADDED", object }))
        : [...this.objects.since(from, selection)];
      for (const { type, object } of first) watch.send({ type, object });
      if (from === undefined) watch.endInitialEvents();
      watch.owns(
        this.objects.follow(selection, ({ type, object }) => watch.send({ type, object })),
      );
    }
    const headers = { "content-type": "application/json" };
    return new Response(watch.stream, { headers });
  }
}

function selectionOf({ resource, namespace, query }: KubeCall): KubeSelection {
  const fieldSelector = query.get("fieldSelector") ?? "";
  return { resource, fieldSelector, ...(namespace !== undefined && { namespace }) };
}

/** An open watch. */
class SimWatch {
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

  /** Sends the bookmark with which newer servers end the initial events. */
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
