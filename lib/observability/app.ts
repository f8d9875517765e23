import { type Context, Hono } from "hono";
import { type AgentStatus, parseImageReference, printable } from "../model/mod.ts";
import type { HealthView } from "./health.ts";
import type { ImageRecord } from "./history.ts";
import type { MetricsPage } from "./metrics.ts";
import { guidePage } from "./page/guide_page.ts";
import { imagePage } from "./page/image_page.ts";
import { PAGE_POLICY } from "./page/layout.ts";
import { nodePage } from "./page/node_page.ts";
import { withTextTimes } from "./status_document.ts";

/** Options of {@linkcode createApp}. */
export interface AppOptions {
  readonly metrics: { page(): Promise<MetricsPage> };
  readonly status: () => AgentStatus;
  readonly health: () => HealthView;
  /** Returns the recent history of an image. @default No history */
  readonly history?: (image: string) => ImageRecord | undefined;
  /** Pages of the documentation by file name, which findings refer to. @default None */
  readonly guides?: Readonly<Record<string, string>>;
  /** The host of the configured address. */
  readonly hostname: string;
  /** Returns the monotonic time in ms. */
  readonly now: () => number;
  /** Whether the status is not served, only metrics, guides and health. @default false */
  readonly metricsOnly?: boolean;
}

const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": PAGE_POLICY,
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};

/**
 * Creates the HTTP application for metrics, health and status. It is read-only, serves no secrets,
 * and cannot be read by other web pages.
 */
export function createApp(options: AppOptions): Hono {
  const { metrics, health, guides = {}, hostname, now, metricsOnly = false } = options;
  const app = new Hono();
  const cache = new ResponseCache(now);

  app.use(async function guard(c, next) {
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
    const host = c.req.header("host") ?? new URL(c.req.url).host;
    if (!isAllowedHost(host, hostname)) {
      return c.json({ error: "host not allowed" }, 421);
    }
    if (c.req.method !== "GET" && c.req.method !== "HEAD") {
      c.header("allow", "GET, HEAD");
      return c.json({ error: "method not allowed" }, 405);
    }
    return await next();
  });

  const metricsPage = (c: Context) =>
    cache.respond("/metrics", async () => {
      const { contentType, body } = await metrics.page();
      return c.body(body, 200, { "content-type": contentType });
    });
  app.get("/metrics", metricsPage);
  app.get("/v1/metrics", metricsPage);

  app.get("/livez", (c) => {
    const view = health();
    if (view.live) return c.text("ok\n");
    return c.text(metricsOnly ? "not live\n" : `${view.summary}\n`, 503);
  });
  app.get("/readyz", (c) => {
    const view = health();
    if (metricsOnly) return c.text(view.ready ? "ok\n" : "not ready\n", view.ready ? 200 : 503);
    const isVerbose = c.req.query("verbose") !== undefined || !view.ready;
    return c.text(isVerbose ? verboseText(view) : "ok\n", view.ready ? 200 : 503);
  });
  const guidePages = new ResponseCache(now);
  app.get("/docs/:name", (c) => {
    const name = c.req.param("name");
    const text = guides[name];
    if (text === undefined) return c.notFound();
    return guidePages.respond(name, () => c.html(guidePage(text, Object.keys(guides))));
  });
  if (!metricsOnly) addDetails(app, options, cache);

  app.notFound((c) => c.json({ error: "not found" }, 404));
  app.onError((_error, c) => c.json({ error: "internal error" }, 500));
  return app;
}

const MAX_FILTER_TEXT = 200;

/** Adds the status as JSON and the status pages. */
function addDetails(app: Hono, options: AppOptions, cache: ResponseCache): void {
  const { status, health, now, history = () => undefined } = options;
  const nodePages = new ResponseCache(now);
  const imagePages = new ResponseCache(now);
  app.get("/healthz", (c) => {
    const view = health();
    return c.json(view, view.live ? 200 : 503);
  });
  const json = (c: Context) => c.json(withTextTimes({ ...status(), health: health() }));
  app.get("/v1/status", (c) => cache.respond("/v1/status", () => json(c)));
  app.get("/", (c) => {
    const { q = "", state = "", page = "1" } = c.req.query();
    const number = Math.max(1, Math.floor(Number(page)) || 1);
    const filter = { text: q.slice(0, MAX_FILTER_TEXT), state, page: number };
    const key = JSON.stringify(filter);
    return nodePages.respond(key, () => c.html(nodePage(status(), health(), filter)));
  });
  app.get("/images", (c) => {
    const ref = normalizeReference(c.req.query("ref") ?? "");
    return imagePages.respond(ref, () => {
      const { page, isKnown } = imagePage(status(), ref, history(ref));
      return c.html(page, isKnown ? 200 : 404);
    });
  });
}

/** Returns an image reference as the status has it, or the same text if it is not a reference. */
function normalizeReference(ref: string): string {
  try {
    return parseImageReference(ref).text;
  } catch {
    return ref;
  }
}

/**
 * Returns a line for each check, the summary, and whether the agent is ready. `[+]` is a passed
 * check, `[-]` a failed one, `[!]` a failed one that readiness does not depend on.
 */
function verboseText({ checks, ready, level, summary }: HealthView): string {
  const lines = checks.map(({ name, ok, text, required }) =>
    `[${ok ? "+" : required ? "-" : "!"}] ${name}: ${printable(text)}\n`
  );
  return `${lines.join("")}${level}: ${summary}\n${ready ? "ready" : "not ready"}\n`;
}

const CACHE_LIFETIME_MS = 1_000;
/** Different responses per second. Requests for more of them get 503. */
const MAX_RESPONSES = 32;

interface CachedResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

/**
 * Renders each response at most once per second and shares its bytes, so that neither CPU time nor
 * memory grows with the number of clients.
 */
class ResponseCache {
  readonly #now: () => number;
  readonly #responses = new Map<
    string,
    { readonly atMs: number; readonly response: Promise<CachedResponse> }
  >();

  /** @param now Returns the monotonic time in ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Returns the cached response for a key, or renders it. A failure is not cached. */
  async respond(key: string, render: () => Response | Promise<Response>): Promise<Response> {
    const nowMs = this.#now();
    for (const [key, { atMs }] of this.#responses) {
      if (nowMs - atMs >= CACHE_LIFETIME_MS) this.#responses.delete(key);
    }
    let response = this.#responses.get(key)?.response;
    if (response === undefined) {
      if (this.#responses.size >= MAX_RESPONSES) {
        return new Response(null, { status: 503, headers: { "retry-after": "1" } });
      }
      response = readResponse(render);
      this.#responses.set(key, { atMs: nowMs, response });
      response.catch(() => this.#responses.delete(key));
    }
    const { status, headers, body } = await response;
    // A stream shares the bytes, which a body of bytes would copy for each response.
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(body);
        controller.close();
      },
    }, { highWaterMark: 0 });
    return new Response(stream, { status, headers });
  }
}

async function readResponse(render: () => Response | Promise<Response>): Promise<CachedResponse> {
  const response = await render();
  const body = new Uint8Array(await response.arrayBuffer());
  const headers = new Headers(response.headers);
  headers.set("content-length", String(body.length));
  return { status: response.status, headers, body };
}

/**
 * Returns whether to serve a request with this `Host` header. With DNS rebinding a web page can
 * point its own host name at the agent and read the response; the `Host` header then has that
 * name. Loopback and the configured host are always allowed. If that is not loopback, every literal
 * address is allowed too: scrapers and probes use them, and an address cannot be rebound.
 */
export function isAllowedHost(host: string, configured: string): boolean {
  const hostname = hostnameOf(host);
  if (hostname === undefined) return false;
  const own = hostnameOf(configured.includes(":") ? `[${configured}]` : configured);
  const isOpen = own !== undefined && !isLoopback(own);
  return isLoopback(hostname) || hostname === own || (isOpen && isAddress(hostname));
}

/** Lower case, without the port, IPv6 in brackets; undefined for an invalid host. */
function hostnameOf(host: string): string | undefined {
  if (!/^(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i.test(host)) return undefined;
  return URL.parse(`http://${host}/`)?.hostname.replace(/\.$/, "");
}

function isAddress(hostname: string): boolean {
  return hostname.startsWith("[") || /^\d{1,3}(?:\.\d{1,3}){3}$/.test(hostname);
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}
