import {
  type ConfigProblem,
  type CredentialProvider,
  defined,
  type ImageReference,
  type KubeHttp,
  type PodAccounts,
  type ProviderOutcome,
  type Random,
  type StaleWatch,
} from "../../model/mod.ts";
import { KubeClient } from "./client.ts";
import { type ConnectionOptions, ConnectionResolver } from "./connection.ts";
import { debounced, type InformerContext } from "./informer.ts";
import { NodeInformers } from "./node_informers.ts";
import { KubePodAccounts } from "./pod_accounts.ts";
import { KubeSecretProvider } from "./secret_provider.ts";
import { ListedSecrets, ReferencedSecrets } from "./secret_sources.ts";

/** Options and dependencies of the Kubernetes providers. */
export interface KubeOptions extends ConnectionOptions {
  readonly http: KubeHttp;
  readonly random: Random;
  /** `referenced`: the secrets that pods of this node reference. `list`: all pull secrets. */
  readonly mode: "referenced" | "list";
  /** Restricts the mode `list`; empty: all namespaces. */
  readonly namespaces?: readonly string[];
  /** The name of this node; undefined if it is unknown. */
  readonly nodeName?: string;
  /** Returns the UIDs of pods that pulled an image, according to the CRI proxy. */
  readonly pulledBy?: (image: ImageReference) => readonly string[];
  /** Called when a provider may return other credentials. */
  readonly changed: () => void;
}

/** The Kubernetes providers. Each starts its informers on first use. */
export interface Kube {
  /** Returns the provider of pull secrets. */
  secrets(): CredentialProvider;
  /** Returns pods, their service accounts and tokens, for exec plugins. */
  accounts(): PodAccounts;
  /** Returns the watches whose cache may be stale. */
  stale(): readonly StaleWatch[];
  /** Returns all problems of the configuration, without calling the API server. */
  check(): Promise<readonly ConfigProblem[]>;
  stop(): void;
}

const POLL_MS = 60_000;
const MAX_STALE = 100;
const UNKNOWN_NODE =
  "the name of this node is unknown: set providers.kubesecret.node_name or $NODE_NAME";

/** Creates the Kubernetes providers, without calling the API server. */
export function startKube(options: KubeOptions): Kube {
  return new KubeProviders(options);
}

class KubeProviders implements Kube {
  readonly #options: KubeOptions;
  readonly #connections: ConnectionResolver;
  readonly #context: InformerContext;
  readonly #stop = new AbortController();
  #node: NodeInformers | undefined;
  #secrets: KubeSecretProvider | undefined;
  #accounts: PodAccounts | undefined;

  constructor(options: KubeOptions) {
    const { http, clock, random } = options;
    this.#options = options;
    this.#connections = new ConnectionResolver(options);
    const client = new KubeClient(http, this.#connections);
    this.#context = { client, clock, random, pollMs: POLL_MS };
  }

  secrets(): CredentialProvider {
    const { clock, mode, namespaces = [], changed } = this.#options;
    const node = mode === "referenced" ? this.#nodeInformers() : undefined;
    if (mode === "referenced" && node === undefined) return failingProvider();
    return this.#secrets ??= new KubeSecretProvider({
      clock,
      changed,
      source: (changed) =>
        node === undefined
          ? new ListedSecrets(this.#context, namespaces, changed)
          : new ReferencedSecrets(this.#context, node, changed),
    });
  }

  accounts(): PodAccounts {
    if (this.#accounts !== undefined) return this.#accounts;
    const node = this.#nodeInformers();
    if (node === undefined) return this.#accounts = failingAccounts();
    const { clock, pulledBy, changed } = this.#options;
    node.onChange(debounced(clock, this.#stop, changed));
    const { client } = this.#context;
    return this.#accounts = new KubePodAccounts({ client, node, clock, ...defined({ pulledBy }) });
  }

  stale(): readonly StaleWatch[] {
    const node = this.#node?.problems().filter(({ stale }) => stale) ?? [];
    const all = [...node, ...this.#secrets?.stale() ?? []];
    const bySubject = new Map(
      all.map(({ subject, failure: { reason, detail } }) => [subject, { subject, reason, detail }]),
    );
    return [...bySubject.values()].slice(0, MAX_STALE);
  }

  async check(): Promise<readonly ConfigProblem[]> {
    const { mode, nodeName } = this.#options;
    const unknownNode = {
      file: "configuration",
      place: "providers.kubesecret.node_name",
      problem: "the name of this node is unknown",
      remedy: "set it, or $NODE_NAME",
    };
    const isUnknown = mode === "referenced" && nodeName === undefined;
    return [...isUnknown ? [unknownNode] : [], ...await this.#connections.check()];
  }

  stop(): void {
    this.#stop.abort();
    this.#secrets?.stop();
    this.#node?.stop();
  }

  #nodeInformers(): NodeInformers | undefined {
    const { nodeName } = this.#options;
    if (nodeName === undefined) return undefined;
    return this.#node ??= new NodeInformers(this.#context, nodeName);
  }
}

function failingProvider(): CredentialProvider {
  const outcome: ProviderOutcome = {
    kind: "failed",
    reason: "invalid-config",
    detail: UNKNOWN_NODE,
    notes: [],
  };
  return { name: "kubesecret", renewable: true, provide: () => Promise.resolve(outcome) };
}

function failingAccounts(): PodAccounts {
  const failed = { kind: "failed", reason: "token-unavailable", detail: UNKNOWN_NODE } as const;
  return {
    podsOf: () => Promise.resolve(failed),
    account: () => Promise.resolve(failed),
    token: () => Promise.resolve(failed),
  };
}
