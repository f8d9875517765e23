import type { Hono } from "hono";
import type { OverlaybdOptions } from "./app.ts";

/** The same as `createOverlaybdApp`, whose code is loaded only where it is wanted. */
export async function openOverlaybd(options: OverlaybdOptions): Promise<Hono> {
  const { createOverlaybdApp } = await import("./app.ts");
  return createOverlaybdApp(options);
}
