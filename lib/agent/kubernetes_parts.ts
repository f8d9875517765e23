import type { AgentConfig } from "../config/mod.ts";
import { createKubeHttp } from "../platform/mod.ts";
import type { KubeHttp, StaleWatch } from "../model/mod.ts";
import { type CriPulls } from "../providers/mod.ts";
import { type Kube, openKube } from "../providers/kubernetes/mod.ts";
import type { Context } from "../platform/mod.ts";

/** The way to the Kubernetes API, with what it owns: opened when it is first wanted. */
export interface KubeParts extends Disposable {
  open(): Promise<Kube>;
  /** What of the API server is not followed now; nothing before it is wanted. */
  stale(): readonly StaleWatch[];
}

const HOST_NAME_PATH = "/etc/hostname";

/** Follows the Kubernetes API as a configuration says, and calls back when that brings news. */
export function kubeParts(
  { clock, files, processRunner, random, host }: Context,
  { providers: { kubesecret } }: AgentConfig,
  changed: () => void,
  pulls?: CriPulls,
): KubeParts {
  let http: KubeHttp | undefined;
  let opened: Promise<Kube> | undefined;
  let following: Kube | undefined;
  let isOver = false;
  const open = async (): Promise<Kube> => {
    const nodeName = kubesecret.nodeName ?? await nodeNameOf(host.env, files);
    http = createKubeHttp();
    const kube = await openKube({
      ...kubesecret,
      ...(nodeName !== undefined && { nodeName }),
      http,
      clock,
      files,
      processRunner,
      random,
      env: host.env,
      changed,
      ...(pulls && { pulledBy: (image) => pulls.pods?.(image).map(({ uid }) => uid) ?? [] }),
    });
    if (isOver) kube.stop();
    return kube;
  };
  return {
    open: () =>
      opened ??= open().then((kube) => following = kube, (error) => {
        opened = undefined; // tried again when it is wanted next
        http?.[Symbol.dispose]();
        http = undefined;
        throw error;
      }),
    stale: () => following?.stale() ?? [],
    [Symbol.dispose]() {
      isOver = true;
      opened?.then((kube) => kube.stop(), () => {}).finally(() => http?.[Symbol.dispose]());
    },
  };
}

/** What the manifest says, else what the kubelet takes: the machine's name in lower case. */
async function nodeNameOf(
  env: Context["host"]["env"],
  files: Context["files"],
): Promise<string | undefined> {
  const named = env["NODE_NAME"] ?? "";
  if (named !== "") return named;
  const text = await files.readText(HOST_NAME_PATH).catch(() => undefined);
  return text?.trim().toLowerCase() || undefined;
}
