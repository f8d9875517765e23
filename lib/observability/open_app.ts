import type { Hono } from "hono";
import type { AppOptions } from "./app.ts";

export type { AppOptions } from "./app.ts";

/** The same as `createApp`, whose code is loaded only where there is a server. */
export async function openApp(options: AppOptions): Promise<Hono> {
  const { createApp } = await import("./app.ts");
  return createApp(options);
}
