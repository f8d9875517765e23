import {
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
import { answerTokenRequest } from "./kube_tokens.ts";
import { SimWatch } from "./kube_watch.ts";

/** How it misbehaves; each may be set and reset at any time. */
export interface SimKubeFaults {
  /** Answers so to calls of these verbs (all, when left out). */
  status?: {
    readonly code: number;
    readonly retryAfter?: number;
    readonly verbs?: readonly KubeCall["verb"][];
  };
  /** Lists take so long. */
  listDelayMs?: number;
  /** Watches end right after they begin. */
  cutWatches?: true;
}

/** Lists that are read page by page, and not to their end yet. */
const MAX_CONTINUES = 1_000;

export type { SimKubeCertificates };

/**
 * A Kubernetes API server over TLS, as far as the agent calls one: get, list with pages, watch with
 * bookmarks, and TokenRequest; with bearer tokens, client certificates, and RBAC by a function. For
 * tests; the demo does without it, so it does not stand in this room's door.
 */
export class SimKubeApi implements AsyncDisposable {
  readonly objects = new KubeObjects();
  readonly faults: SimKubeFaults = {};
  /** Bearer tokens, and who brings them. */
  readonly tokens = new Map<string, string>();
  /** What is allowed; everything by default. */
  allows: (call: KubeCall) => boolean = () => true;
  /** Every call that was authenticated, in order. */
  readonly calls: KubeCall[] = [];
  /** The ports that calls came from: one for each connection. */
  readonly peers = new Set<number>();
  /** How many were sent away because nobody knows them. */
  refusals = 0;
  bookmarkMs = 1_000;
  readonly #certificates: SimKubeCertificates;
  readonly #continues = new Map<string, readonly unknown[]>();
  readonly #watches = new Set<SimWatch>();
  #served: Listening | undefined;
  #port = 0;

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

  /** How many watches are open. */
  get watchCount(): number {
    return this.#watches.size;
  }

  /** Listens, on the port that it had before; with other certificates where they are given. */
  async up(certificates = this.#certificates): Promise<void> {
    if (this.#served !== undefined) return;
    this.#served = certificates.clientCa === undefined
      ? serveHttp2(this.#port, certificates, this.#answer)
      : await serveHttps(this.#port, certificates, this.#answer);
    this.#port = this.#served.port;
  }

  /** Is gone, with every connection. */
  async down(): Promise<void> {
    const served = this.#served;
    this.#served = undefined;
    this.cutWatches();
    await served?.close();
  }

  /** Ends every open watch in the middle. */
  cutWatches({ halfSent = false } = {}): void {
    for (const watch of [...this.#watches]) watch.cut(halfSent);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
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
    // Items of a list carry neither kind nor version, as with a real server.
    const items = rest.slice(0, Math.min(limit, rest.length)).map((item) => {
      const { kind: _kind, apiVersion: _version, ...others } = item as Record<string, unknown>;
      return others;
    });
    return Response.json({ kind, apiVersion: "v1", metadata, items });
  }

  /** Pages under way are forgotten, as a server does after some minutes. */
  expireContinues(): void {
    this.#continues.clear();
  }

  #watch(call: KubeCall): Response {
    const selection = selectionOf(call);
    const asked = call.query.get("resourceVersion") ?? "";
    const from = asked === "" || asked === "0" ? undefined : Number(asked);
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
