import {
  type ConfigProblem,
  type CredentialProvider,
  type ImageReference,
  type KubeHttp,
  type ProviderOutcome,
  type Random,
  type StaleWatch,
} from "../../model/mod.ts";
import type { PodAccounts } from "../../model/mod.ts";
import { KubeAccess, type KubeAccessOptions } from "./kube_access.ts";
import { KubeClient } from "./kube_client.ts";
import { KubeNode } from "./kube_node.ts";
import { KubePodAccounts } from "./kube_pod_accounts.ts";
import { KubeSecretProvider } from "./kube_secret_provider.ts";
import { ListedSecrets, ReferencedSecrets } from "./secret_sources.ts";

/** What the Kubernetes API is followed with. */
export interface KubeOptions extends KubeAccessOptions {
  readonly http: KubeHttp;
  readonly random: Random;
  readonly mode: "referenced" | "list";
  /** With `list`: these alone. */
  readonly namespaces?: readonly string[];
  /** This node's name; undefined where nothing tells it. */
  readonly nodeName?: string;
  /** UIDs of pods that were seen to pull an image. */
  readonly pulledBy?: (image: ImageReference) => readonly string[];
  /** Called when other credentials may be found. */
  readonly changed: () => void;
}

/** What the Kubernetes API is followed for; each part from when it is first asked for. */
export interface Kube {
  /** Pull secrets. */
  secrets(): CredentialProvider;
  /** Pods, their service accounts and tokens, for plugins. */
  accounts(): PodAccounts;
  /** What of the API server is not followed now, though it should be. */
  stale(): readonly StaleWatch[];
  /** Everything that is wrong with the configuration, without a call. */
  check(): Promise<readonly ConfigProblem[]>;
  stop(): void;
}

const POLL_MS = 60_000;
const REPORT_AFTER_MS = 50;
const MAX_STALE = 100;
const NAMELESS =
  "the name of this node is unknown: set providers.kubesecret.node_name or $NODE_NAME";

/** Opens the way to the API server that the options describe; nothing is asked yet. */
export function startKube(options: KubeOptions): Kube {
  return new FollowedKube(options);
}

class FollowedKube implements Kube {
  readonly #options: KubeOptions;
  readonly #access: KubeAccess;
  readonly #client: KubeClient;
  readonly #stop = new AbortController();
  #node: KubeNode | undefined;
  #secrets: KubeSecretProvider | undefined;
  #accounts: PodAccounts | undefined;
  #telling = false;

  constructor(options: KubeOptions) {
    this.#options = options;
    this.#access = new KubeAccess(options);
    this.#client = new KubeClient(options.http, this.#access);
  }

  secrets(): CredentialProvider {
    const { clock, mode, namespaces = [], changed } = this.#options;
    const node = mode === "referenced" ? this.#followedNode() : undefined;
    if (mode === "referenced" && node === undefined) return namelessProvider();
    return this.#secrets ??= new KubeSecretProvider({
      clock,
      changed,
      source: (changed) =>
        node === undefined
          ? new ListedSecrets(this.#following(), namespaces, changed)
          : new ReferencedSecrets(this.#following(), node, changed),
    });
  }

  accounts(): PodAccounts {
    if (this.#accounts !== undefined) return this.#accounts;
    const node = this.#followedNode();
    if (node === undefined) return this.#accounts = namelessAccounts();
    node.onChange(() => this.#tell());
    const { clock, pulledBy } = this.#options;
    const client = this.#client;
    return this.#accounts = new KubePodAccounts({
      client,
      node,
      clock,
      ...(pulledBy && { pulledBy }),
    });
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
    const nameless = {
      file: "configuration",
      place: "providers.kubesecret.node_name",
      problem: "the name of this node is unknown",
      remedy: "set it, or $NODE_NAME",
    };
    const isNameless = mode === "referenced" && nodeName === undefined;
    return [...isNameless ? [nameless] : [], ...await this.#access.check()];
  }

  stop(): void {
    this.#stop.abort();
    this.#secrets?.stop();
    this.#node?.stop();
  }

  #following() {
    const { clock, random } = this.#options;
    return { client: this.#client, clock, random, pollMs: POLL_MS };
  }

  #followedNode(): KubeNode | undefined {
    const { nodeName } = this.#options;
    if (nodeName === undefined) return undefined;
    return this.#node ??= new KubeNode(this.#following(), nodeName);
  }

  /** Pods that start together are told together. */
  #tell(): void {
    if (this.#telling) return;
    this.#telling = true;
    this.#options.clock.sleep(REPORT_AFTER_MS, this.#stop).then(() => {
      this.#telling = false;
      this.#options.changed();
    }, () => {});
  }
}

function namelessProvider(): CredentialProvider {
  const outcome: ProviderOutcome = {
    kind: "failed",
    reason: "invalid-config",
    detail: NAMELESS,
    notes: [],
  };
  return { name: "kubesecret", renewable: true, provide: () => Promise.resolve(outcome) };
}

function namelessAccounts(): PodAccounts {
  const failed = { kind: "failed", reason: "token-unavailable", detail: NAMELESS } as const;
  return {
    podsOf: () => Promise.resolve(failed),
    account: () => Promise.resolve(failed),
    token: () => Promise.resolve(failed),
  };
}
