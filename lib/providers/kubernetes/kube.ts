import type { Kube, KubeOptions } from "./open.ts";

export type { Kube, KubeOptions };

/** The same as `startKube`, whose code is loaded only where it is wanted. */
export async function openKube(options: KubeOptions): Promise<Kube> {
  const { startKube } = await import("./open.ts");
  return startKube(options);
}
