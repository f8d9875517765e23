import type { KubeSecrets, KubeSecretsOptions } from "./kube/open.ts";

export type { KubeSecrets, KubeSecretsOptions };

/** The same as `startKubeSecrets`, whose code is loaded only where it is wanted. */
export async function openKubeSecrets(options: KubeSecretsOptions): Promise<KubeSecrets> {
  const { startKubeSecrets } = await import("./kube/open.ts");
  return startKubeSecrets(options);
}
