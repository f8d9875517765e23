import { type Context, Hono } from "hono";
import { type AgentStatus, isAllowedHost, parseImageReference } from "../model/mod.ts";
import { preferredForm } from "./accept.ts";
import type { HealthView } from "./health.ts";
import type { ImagePast } from "./image_history.ts";
import type { MetricsPage } from "./metrics.ts";
import { printable } from "./printable.ts";
import { imagePage, unknownImagePage } from "./page/image_page.ts";
import { icon, PAGE_POLICY } from "./page/layout.ts";
import { nodePage } from "./page/node_page.ts";
import { RenderedPages } from "./rendered_pages.ts";

/** What {@linkcode createApp} is given. */
export interface AppOptions {
  readonly metrics: { page(accept?: string): Promise<MetricsPage> };
  readonly status: () => AgentStatus;
  readonly health: () => HealthView;
  /** What happened to an image lately; without it the pages have no history. */
  readonly history?: (image: string) => ImagePast | undefined;
  /** The configured address, and further names under which we are asked. */
  readonly allowedHosts: readonly string[];
  /** Monotonic time in ms. */
  readonly now: () => number;
  /** Only metrics, `/livez` and `/readyz`, without details. Default false. */
  readonly metricsOnly?: boolean;
}

const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": PAGE_POLICY,
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};

/** Metrics, health and status over HTTP. Read-only, without secrets, and for no other web page. */
export function createApp(options: AppOptions): Hono {
  const { metrics, health, allowedHosts, now, metricsOnly = false } = options;
  const app = new Hono();
  const pages = new RenderedPages(now);

  app.use(async function guard(c, next) {
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
    const host = c.req.header("host") ?? new URL(c.req.url).host;
    if (!isAllowedHost(host, allowedHosts)) {
      return c.json({ error: "this server is not called that" }, 421);
    }
    if (c.req.method !== "GET" && c.req.method !== "HEAD") {
      c.header("allow", "GET, HEAD");
      return c.json({ error: "method not allowed" }, 405);
    }
    return await next();
  });

  const metricsPage = (c: Context) => {
    const form = preferredForm(c.req.header("accept") ?? "");
    return pages.respond(form, async () => {
      const { contentType, body } = await metrics.page(form);
      return c.body(body, 200, { "content-type": contentType });
    });
  };
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
    const text = c.req.query("verbose") === undefined
      ? view.ready ? "ok\n" : gateText(view)
      : verboseText(view);
    return c.text(text, view.ready ? 200 : 503);
  });
  if (!metricsOnly) addDetails(app, options, pages);

  app.notFound((c) => c.json({ error: "there is nothing here" }, 404));
  app.onError((_error, c) => c.json({ error: "internal error" }, 500));
  return app;
}

/** Adds the status as JSON and the status page. */
function addDetails(app: Hono, options: AppOptions, pages: RenderedPages): void {
  const { status, health, now, history = () => undefined } = options;
  const imagePages = new RenderedPages(now);
  app.get("/healthz", (c) => {
    const view = health();
    return c.json(view, view.live ? 200 : 503);
  });
  const json = (c: Context) => c.json({ ...status(), health: health() });
  app.get("/v1/status", (c) => pages.respond("/v1/status", () => json(c)));
  app.get("/", (c) => pages.respond("/", () => c.html(nodePage(status(), health()))));
  app.get("/images", (c) => {
    const ref = normalized(c.req.query("ref") ?? "");
    return imagePages.respond(ref, () => {
      const page = imagePage(status(), ref, history(ref));
      return page === undefined ? c.html(unknownImagePage(ref), 404) : c.html(page);
    });
  });
  app.get("/icon.svg", (c) => {
    const text = icon(c.req.query("level") ?? "ok");
    return c.body(text, 200, { "content-type": "image/svg+xml" });
  });
}

/** As the agent writes references; what is none stays as it is, and is found nowhere. */
function normalized(ref: string): string {
  try {
    return parseImageReference(ref).text;
  } catch {
    return ref;
  }
}

function gateText({ checks }: HealthView): string {
  const failed = checks.filter(({ gate, ok }) => gate && !ok);
  return failed.map(({ name, text }) => `${name}: ${printable(text)}\n`).join("");
}

/**
 * `[+]` holds, `[-]` does not, `[!]` does not and readiness does not depend on it; then the one
 * sentence, and whether we are ready.
 */
function verboseText({ checks, ready, level, summary }: HealthView): string {
  const lines = checks.map(({ name, ok, text, gate }) =>
    `[${ok ? "+" : gate ? "-" : "!"}] ${name}: ${printable(text)}\n`
  );
  return `${lines.join("")}${level}: ${summary}\n${ready ? "ready" : "not ready"}\n`;
}
