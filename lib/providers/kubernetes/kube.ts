import {
  type ConfigProblem,
  type CredentialProvider,
  defined,
  type ImageReference,
  type KubeHttp,
  type PodAccounts,
  type Random,
  type StaleWatch,
} from "../../model/mod.ts";
import { KubeClient } from "./client.ts";
import { type ConnectionOptions, ConnectionResolver } from "./connection.ts";
import { debounced, type InformerContext } from "./informer.ts";
import { NodeInformers } from "./node_informers.ts";
import { KubePodAccounts } from "./pod_accounts.ts";
import { KubeSecretProvider } from "./secret_provider.ts";

/** Options and dependencies of {@linkcode Kube}. */
export interface KubeOptions extends ConnectionOptions {
  readonly http: KubeHttp;
  readonly random: Random;
  readonly nodeName: string;
  /** Returns the UIDs of pods that pulled an image, according to the CRI proxy. */
  readonly pulledBy?: (image: ImageReference) => readonly string[];
  /** Called when a provider may return other credentials. */
  readonly changed: () => void;
}

const POLL_MS = 60_000;
const MAX_STALE = 100;

/** The Kubernetes providers. Each starts its informers on first use. */
export class Kube {
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

  /** Returns the provider of pull secrets. */
  secrets(): CredentialProvider {
    return this.#secrets ??= new KubeSecretProvider({
      context: this.#context,
      node: this.#nodeInformers(),
      changed: this.#options.changed,
    });
  }

  /** Returns pods, their service accounts and tokens, for exec plugins. */
  accounts(): PodAccounts {
    if (this.#accounts !== undefined) return this.#accounts;
    const { clock, pulledBy, changed } = this.#options;
    const node = this.#nodeInformers();
    node.onChange(debounced(clock, this.#stop, changed));
    const { client } = this.#context;
    return this.#accounts = new KubePodAccounts({ client, node, clock, ...defined({ pulledBy }) });
  }

  /** Returns the watches whose cache may be stale. */
  stale(): readonly StaleWatch[] {
    const all = [
      ...this.#node?.podProblems() ?? [],
      ...this.#node?.serviceAccounts.problems() ?? [],
      ...this.#secrets?.problems() ?? [],
    ];
    const bySubject = new Map(
      all.filter(({ stale }) => stale).map(({ subject, failure: { reason, detail } }) =>
        [subject, { subject, reason, detail }] as const
      ),
    );
    return [...bySubject.values()].slice(0, MAX_STALE);
  }

  /** Returns all problems of the configuration, without calling the API server. */
  async check(): Promise<readonly ConfigProblem[]> {
    return await this.#connections.check();
  }

  stop(): void {
    this.#stop.abort();
    this.#secrets?.stop();
    this.#node?.stop();
  }

  #nodeInformers(): NodeInformers {
    return this.#node ??= new NodeInformers(this.#context, this.#options.nodeName);
  }
}
