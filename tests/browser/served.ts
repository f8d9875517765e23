import { GUIDES } from "../../lib/assets/mod.ts";
import { createApp } from "../../lib/observability/app.ts";
import { healthOf } from "../../lib/observability/mod.ts";
import type { Stage } from "../unit/observability/page/nodes.ts";
import { NOW_MS } from "../unit/observability/status_of.ts";

/** Starts a server whose node the test can replace. */
export function serve(stage: Stage): { url: string; stage: Stage } & AsyncDisposable {
  const shown = { stage };
  let nowMs = 0;
  const app = createApp({
    metrics: { page: () => Promise.resolve({ contentType: "text/plain", body: "" }) },
    status: () => shown.stage.status,
    health: () => healthOf(shown.stage.status, NOW_MS),
    history: (image) => shown.stage.history.of(image),
    guides: GUIDES,
    hostname: "127.0.0.1",
    now: () => nowMs += 1_000, // so that every request is rendered
  });
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const server = Deno.serve(options, (request) => app.fetch(request));
  return Object.assign(shown, {
    url: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  });
}
