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
import type { InformerContext } from "./informer.ts";
import { NodePods } from "./node_pods.ts";
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

const MAX_STALE = 100;

/** Changes within this time are reported together (ms). */
const DEBOUNCE_MS = 50;

/** The Kubernetes providers. Each starts its informers on first use. */
export class Kube implements Disposable {
  readonly #options: KubeOptions;
  readonly #connections: ConnectionResolver;
  readonly #context: InformerContext;
  readonly #stop = new AbortController();
  #node: NodePods | undefined;
  #secrets: KubeSecretProvider | undefined;
  #hasAccounts = false;
  #isChangePending = false;

  constructor(options: KubeOptions) {
    const { http, clock, random } = options;
    this.#options = options;
    this.#connections = new ConnectionResolver(options);
    const client = new KubeClient(http, this.#connections);
    this.#context = { client, clock, random };
  }

  /** Returns the provider of pull secrets. */
  secrets(): CredentialProvider {
    return this.#secrets ??= new KubeSecretProvider({
      ...this.#context,
      node: this.#nodePods(),
      changed: () => this.#changed(),
    });
  }

  /** Returns pods, their service accounts and tokens, for exec plugins. */
  accounts(): PodAccounts {
    this.#hasAccounts = true;
    return this.#nodePods();
  }

  /** Returns the watches whose cache may be stale. */
  staleWatches(): readonly StaleWatch[] {
    const problems = this.#secrets?.problems() ?? this.#node?.problems() ?? [];
    return problems.filter(({ stale }) => stale)
      .map(({ subject, failure: { reason, detail } }) => ({ subject, reason, detail }))
      .slice(0, MAX_STALE);
  }

  /** Returns all problems of the configuration, without calling the API server. */
  async check(): Promise<readonly ConfigProblem[]> {
    return await this.#connections.check();
  }

  /** Stops the informers, and closes the connections to the API server. */
  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#secrets?.stop();
    this.#node?.stop();
    this.#options.http[Symbol.dispose]();
  }

  #nodePods(): NodePods {
    const { nodeName, pulledBy } = this.#options;
    return this.#node ??= new NodePods({
      ...this.#context,
      nodeName,
      ...defined({ pulledBy }),
      changed: () => {
        this.#secrets?.updateReferences();
        if (this.#hasAccounts) this.#changed();
      },
    });
  }

  #changed(): void {
    if (this.#isChangePending) return;
    this.#isChangePending = true;
    this.#context.clock.sleep(DEBOUNCE_MS, this.#stop).then(() => {
      this.#isChangePending = false;
      this.#options.changed();
    }, () => {});
  }
}
