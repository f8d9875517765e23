/**
 * The local API on the unix socket: credential lookups, pushed credentials, status.
 *
 * @module
 */
import type { Hono } from "hono";
import type { ApiOptions } from "./routes.ts";

export type {
  ApiAgent,
  ApiCredential,
  ApiLifetime,
  ApiLookup,
  ApiPut,
  ApiRenewed,
  ApiTarget,
} from "./routes.ts";

/** Loads the code of the local API and creates it. Call this for the first request. */
export async function loadApi(options: ApiOptions): Promise<Hono> {
  const { createApi } = await import("./app.ts");
  return createApi(options);
}
