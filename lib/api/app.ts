import { type Context, Hono } from "hono";
import { type BaseIssue, safeParse } from "valibot";
import { AgentError, Deadline, defined } from "../model/mod.ts";
import { withTextTimes } from "../observability/mod.ts";
import { type ApiAgent, ApiError, type ApiOptions, type Route, ROUTES } from "./routes.ts";
import { requestFields, REQUESTS } from "./schemas.ts";

/** Deadline of a response. The result of a slower provider is used by the next request. */
const TIMEOUT_MS = 30_000;
const HEADERS: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
};

/**
 * Creates the local API. It returns secrets to every client, so serve it only on a socket with
 * restricted permissions.
 */
export function createApi({ agent, version }: ApiOptions): Hono {
  const app = new Hono();
  app.use(async function guard(c, next) {
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
    return await next();
  });
  for (const route of ROUTES) app.on(route.method, route.path, (c) => respond(c, agent, route));
  app.get("/v1/openapi.json", async (c) => {
    const { openApiDocument } = await import("./openapi.ts");
    return c.json(openApiDocument(version));
  });
  app.notFound((c) => {
    const known = ROUTES.filter(({ path }) => path === c.req.path).map(({ method }) => method);
    if (known.length === 0) throw new ApiError(404, "not-found", "unknown path");
    c.header("allow", known.join(", "));
    throw new ApiError(405, "method-not-allowed", `use ${known.join(" or ")}`);
  });
  app.onError((error, c) => {
    const { status, code, message, details } = apiErrorOf(error);
    return c.json({ error: defined({ code, message, details }) }, status);
  });
  return app;
}

function apiErrorOf(error: Error): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof AgentError) return new ApiError(400, error.code, error.message);
  return error instanceof DOMException && ["TimeoutError", "AbortError"].includes(error.name)
    ? new ApiError(504, "timeout", "the providers did not respond in time")
    : new ApiError(500, "internal-error", "unexpected error");
}

async function respond(c: Context, agent: ApiAgent, route: Route<never>): Promise<Response> {
  // The signal of the request is not used: the next request can use the result, and Deno logs a
  // warning when the signal is accessed.
  using deadline = new Deadline(TIMEOUT_MS);
  const { signal } = deadline;
  // The body matches the schema of the route.
  const body = (route.body && await readBody(c, route.body)) as never;
  const result = await deadline.race(route.handle(agent, body, { signal }));
  return c.json(withTextTimes(result as object));
}

async function readBody(c: Context, name: keyof typeof REQUESTS): Promise<unknown> {
  const type = (c.req.header("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new ApiError(415, "unsupported-media-type", "send the body as application/json");
  }
  let given: unknown;
  try {
    given = JSON.parse(await c.req.text());
  } catch {
    // The parser's error is dropped: it quotes the text, which may contain a secret.
    throw new ApiError(400, "invalid-json", "the body is not JSON");
  }
  const { success, output, issues } = safeParse(REQUESTS[name], given);
  if (success) return output;
  throw new ApiError(400, "invalid-body", `invalid ${problemOf(name, issues[0])}`);
}

/** Describes an issue. Values are never quoted, because they may contain a secret. */
function problemOf(name: keyof typeof REQUESTS, issue: BaseIssue<unknown>): string {
  const path = issue.path?.map(({ key }) => String(key)) ?? [];
  const parent = path.slice(0, -1);
  if (issue.type === "strict_object" && issue.expected === "never") {
    const field = path.at(-1) ?? "";
    // Any other name is not a mistyped one.
    const unknown = /^[a-z_]{1,20}$/i.test(field) ? `unknown field ${field}` : "unknown field";
    return `${placeOf(parent)}: ${unknown}; the fields are ${requestFields(name, parent)}`;
  }
  if (issue.type === "strict_object" && issue.input === undefined) {
    return `${placeOf(parent)}: ${path.at(-1)} is missing`;
  }
  if (issue.type === "check") return `${placeOf(path)}: ${issue.message}`;
  const expected = issue.type === "iso_timestamp" ? "a time in RFC 3339" : issue.expected;
  return `${placeOf(path)}: expected ${expected}`;
}

/** Names of labels come from the client. */
function placeOf(path: readonly string[]): string {
  return path[0] === "labels" ? "labels" : path.join(".") || "body";
}
