import type { AgentConfig } from "../config/mod.ts";
import { createKubeHttp } from "../edge/mod.ts";
import type { CredentialProvider } from "../model/mod.ts";
import { openKubeSecrets } from "../resolve/mod.ts";
import type { Context } from "./context.ts";

/** The providers that ask the Kubernetes API, with what they own. */
export interface KubeParts extends Disposable {
  readonly kubesecret: CredentialProvider;
}

const HOST_NAME_PATH = "/etc/hostname";

/** Starts to follow pull secrets, as a configuration that enables them says. */
export async function openKubeParts(
  { clock, files, processRunner, random, host }: Context,
  { providers }: AgentConfig,
  changed: () => void,
): Promise<KubeParts> {
  const http = createKubeHttp();
  const { kubesecret } = providers;
  const nodeName = kubesecret.nodeName ?? await nodeNameOf(host.env, files);
  const secrets = await openKubeSecrets({
    ...kubesecret,
    ...(nodeName !== undefined && { nodeName }),
    http,
    clock,
    files,
    processRunner,
    random,
    env: host.env,
    changed,
  });
  return {
    kubesecret: secrets.provider,
    [Symbol.dispose]() {
      secrets.stop();
      http[Symbol.dispose]();
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
