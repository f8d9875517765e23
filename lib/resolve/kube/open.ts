import {
  type CredentialProvider,
  type KubeHttp,
  type ProviderOutcome,
  type Random,
} from "../../model/mod.ts";
import { KubeAccess, type KubeAccessOptions } from "./kube_access.ts";
import { KubeClient } from "./kube_client.ts";
import { KubeSecretProvider } from "./kube_secret_provider.ts";
import { ListedSecrets, ReferencedSecrets } from "./secret_sources.ts";

/** What pull secrets are found with. */
export interface KubeSecretsOptions extends KubeAccessOptions {
  readonly http: KubeHttp;
  readonly random: Random;
  readonly mode: "referenced" | "list";
  /** With `list`: these alone. */
  readonly namespaces?: readonly string[];
  /** With `referenced`: undefined where nothing tells it. */
  readonly nodeName?: string;
  /** Called when other credentials may be found. */
  readonly changed: () => void;
}

/** A provider that follows the API server until it is stopped. */
export interface KubeSecrets {
  readonly provider: CredentialProvider;
  stop(): void;
}

const POLL_MS = 60_000;

/** Starts to follow the pull secrets that the options describe. */
export function startKubeSecrets(options: KubeSecretsOptions): KubeSecrets {
  const { http, clock, random, mode, namespaces = [], nodeName, changed } = options;
  const client = new KubeClient(http, new KubeAccess(options));
  const following = { client, clock, random, pollMs: POLL_MS };
  if (mode === "referenced" && nodeName === undefined) return namelessNode();
  const provider = new KubeSecretProvider({
    clock,
    changed,
    source: (changed) =>
      mode === "referenced" && nodeName !== undefined
        ? new ReferencedSecrets(following, nodeName, changed)
        : new ListedSecrets(following, namespaces, changed),
  });
  return { provider, stop: () => provider.stop() };
}

function namelessNode(): KubeSecrets {
  const outcome: ProviderOutcome = {
    kind: "failed",
    reason: "invalid-config",
    detail: "the name of this node is unknown: set providers.kubesecret.node_name or $NODE_NAME",
    notes: [],
  };
  return {
    provider: { name: "kubesecret", renewable: true, provide: () => Promise.resolve(outcome) },
    stop: () => {},
  };
}
