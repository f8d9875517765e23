import type { Hono } from "hono";
import type { ApiOptions } from "./app.ts";

/** The same as `createApi`, whose code is loaded when the first request comes. */
export async function openApi(options: ApiOptions): Promise<Hono> {
  const { createApi } = await import("./app.ts");
  return createApi(options);
}
