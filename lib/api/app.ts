import { type Context, Hono } from "hono";
import { safeParse } from "valibot";
import { AgentError, Deadline, messageOf } from "../model/mod.ts";
import type { ApiAgent } from "./port.ts";
import { ApiError, type Route, ROUTES } from "./routes.ts";
import { REQUESTS } from "./schemas.ts";

/** What the local API is made of. */
export interface ApiOptions {
  readonly agent: ApiAgent;
  readonly version: string;
}

/** Names that the schemas have. */
const NAMES: ReadonlySet<string> = new Set([
  ...["ref", "registry", "labels", "validFor", "validUntil", "fingerprint", "level", "all"],
  ...["credential", "form", "username", "password", "token"],
]);
/** How long an answer may take; a plugin that is slower answers the next question. */
const TIMEOUT_MS = 30_000;
const HEADERS: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
};

/**
 * The local API. It gives secrets away: whoever may connect to its socket may have them, so serve
 * it nowhere else.
 */
export function createApi({ agent, version }: ApiOptions): Hono {
  const app = new Hono();
  app.use(async function guard(c, next) {
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
    return await next();
  });
  for (const route of ROUTES) app.on(route.method, route.path, (c) => answer(c, agent, route));
  app.get("/v1/openapi.json", async (c) => {
    const { openApiDocument } = await import("./openapi.ts");
    return c.json(openApiDocument(version));
  });
  app.notFound((c) => {
    const known = ROUTES.filter(({ path }) => path === c.req.path).map(({ method }) => method);
    if (known.length === 0) return told(c, 404, "not-found", "there is nothing here");
    c.header("allow", known.join(", "));
    return told(c, 405, "method-not-allowed", `use ${known.join(" or ")}`);
  });
  app.onError((error, c) => {
    if (error instanceof ApiError) {
      const { status, code, message, details } = error;
      return told(c, status, code, message, details);
    }
    if (error instanceof AgentError) return told(c, 400, error.code, error.message);
    if (isTimeout(error)) return told(c, 504, "timeout", "the sources did not answer in time");
    return told(c, 500, "internal-error", "the agent failed in a way that it does not know");
  });
  return app;
}

async function answer(c: Context, agent: ApiAgent, route: Route<never>): Promise<Response> {
  // Not the request's own signal: whoever asks next has use for the answer, and Deno writes a line
  // of its own into our log when it is touched.
  using deadline = new Deadline(TIMEOUT_MS);
  const { signal } = deadline;
  const body = route.body === undefined ? undefined : await read(c, route.body);
  // The schema of the route's own body has just been checked.
  const body_ = body as never;
  // A provider may continue; we respond in time.
  return c.json(await deadline.race(route.answerTo(agent, body_, { signal })) as object);
}

async function read(c: Context, name: keyof typeof REQUESTS): Promise<unknown> {
  const type = (c.req.header("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new ApiError(415, "unsupported-media-type", "send the body as application/json");
  }
  let given: unknown;
  try {
    given = JSON.parse(await c.req.text());
  } catch {
    // The parser's own words quote the text, which may hold a secret.
    throw new ApiError(400, "invalid-json", "the body is not JSON");
  }
  const { success, output, issues } = safeParse(REQUESTS[name], given, { abortPipeEarly: true });
  if (success) return output;
  const [issue] = issues;
  // Names that are ours, and our own words: everything else is the caller's, and may be a secret.
  const path = issue.path?.map(({ key }) => String(key)) ?? [];
  const unknown = path.findIndex((name) => !NAMES.has(name));
  const place = path.slice(0, unknown < 0 ? path.length : unknown).join(".");
  const problem = issue.type === "check"
    ? issue.message
    : unknown < 0
    ? "it is not what the schema says"
    : "it holds a name that the schema does not know";
  throw new ApiError(400, "invalid-body", `read ${place === "" ? "the body" : place}: ${problem}`);
}

function told(
  c: Context,
  status: 400 | 404 | 405 | 409 | 411 | 413 | 415 | 500 | 503 | 504,
  code: string,
  message: string,
  details: readonly string[] = [],
): Response {
  return c.json({ error: { code, message, ...(details.length > 0 && { details }) } }, status);
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && ["TimeoutError", "AbortError"].includes(error.name) &&
    messageOf(error) !== "";
}
