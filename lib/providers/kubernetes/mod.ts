/**
 * The Kubernetes API: kubeconfig, client, list-watch, pods, secrets and service accounts.
 *
 * @module
 */
import type { Kube, KubeOptions } from "./kube.ts";

export type { Kube, KubeOptions };

/** Creates the Kubernetes providers. The package's code is loaded here, only when it is needed. */
export async function openKube(options: KubeOptions): Promise<Kube> {
  const { Kube } = await import("./kube.ts");
  return new Kube(options);
}
