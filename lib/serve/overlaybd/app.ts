import { type Context, Hono } from "hono";
import {
  type CallOptions,
  type Credential,
  Deadline,
  type ImageReference,
  isAllowedHost,
} from "../../model/mod.ts";
import { readBlobUrl } from "./blob_url.ts";

/** What the credential server for overlaybd asks. */
export interface OverlaybdOptions {
  /** The credential for a repository; undefined: there is none, the access is anonymous. */
  readonly credential: (
    image: ImageReference,
    options: CallOptions,
  ) => Promise<Credential | undefined>;
}

/** overlaybd waits for one second (`CredentialConfig.timeout`, `src/config.h`). */
const ANSWER_WITHIN_MS = 900;

/**
 * The server that overlaybd asks for credentials: `GET /auth?remote_url=…`, which it does whenever
 * a registry wants one (`reload_auth`, `src/image_service.cpp`). It looks for the registry's host,
 * as its URL spells it, among the `auths` of the answer.
 *
 * Without an answer from us it reads anonymously, so an unknown registry is a success without
 * `auths`; `success: false` says that we could not tell.
 */
export function createOverlaybdApp({ credential }: OverlaybdOptions): Hono {
  const app = new Hono();
  app.use(async function guard(c, next) {
    c.header("cache-control", "no-store");
    c.header("x-content-type-options", "nosniff");
    const host = c.req.header("host") ?? new URL(c.req.url).host;
    // Browsers, and names that were pointed at loopback, are nobody's lazy puller.
    const isPage = c.req.header("origin") !== undefined ||
      c.req.header("sec-fetch-site") !== undefined;
    if (isPage || !isAllowedHost(host, [])) return failed(c, 403);
    return await next();
  });
  app.get("/auth", async (c) => {
    const asked = readBlobUrl(remoteUrl(c.req.raw.url));
    if (asked === undefined) return failed(c, 400);
    const { host, image } = asked;
    using deadline = new Deadline(ANSWER_WITHIN_MS);
    const found = await deadline.race(credential(image, { signal: deadline.signal }));
    // It knows user names and passwords only.
    if (found !== undefined && found.kind !== "basic") return failed(c, 200);
    const { username, password } = found ?? {};
    const auths = password === undefined
      ? {}
      : { [host]: { username, password: password.reveal() } };
    return c.json({ traceId: crypto.randomUUID(), success: true, data: { auths } });
  });
  app.notFound((c) => failed(c, 404));
  app.onError((_error, c) => failed(c, 200));
  return app;
}

function failed(c: Context, status: 200 | 400 | 403 | 404): Response {
  const body = { traceId: crypto.randomUUID(), success: false, data: { auths: {} } };
  return c.json(body, status);
}

/** Everything after `remote_url=`: overlaybd puts the URL there as it is, without escaping it. */
function remoteUrl(requested: string): string {
  const text = /[?&]remote_url=(.*)$/.exec(requested)?.[1] ?? "";
  if (!/^https?%3a/i.test(text)) return text;
  try {
    return decodeURIComponent(text.replace(/&.*$/, ""));
  } catch {
    return "";
  }
}
