import { FollowedObjects, type KubeFollowing, type KubeProblem } from "./kube_sources.ts";
import { ACCOUNT, type KubeAccount, NodePods } from "./node_pods.ts";

/** The pods of this node and their service accounts: followed once, for all who want to know. */
export class KubeNode {
  readonly pods: NodePods;
  readonly accounts: FollowedObjects<KubeAccount>;
  readonly #listeners: (() => void)[] = [];

  constructor(following: KubeFollowing, nodeName: string) {
    const look = () => this.#look();
    this.accounts = new FollowedObjects(following, "serviceaccounts", ACCOUNT, look);
    this.pods = new NodePods(following, nodeName, look);
  }

  /** Calls back when pods or accounts are different. */
  onChange(changed: () => void): void {
    this.#listeners.push(changed);
  }

  /** Resolves when pods and accounts were read once, or could not be. */
  async attempted(): Promise<void> {
    await this.pods.attempted();
    await this.accounts.attempted();
  }

  problems(): readonly KubeProblem[] {
    return [...this.pods.problems(), ...this.accounts.problems()];
  }

  stop(): void {
    this.pods.stop();
    this.accounts.stop();
  }

  #look(): void {
    const named = this.pods.active().filter(({ serviceAccount }) => serviceAccount !== "");
    this.accounts.want(new Set(named.map(accountKey)));
    for (const listener of this.#listeners) listener();
  }
}

/** `namespace/name` of a pod's service account. */
export function accountKey(
  { namespace, serviceAccount }: { readonly namespace: string; readonly serviceAccount: string },
): string {
  return `${namespace}/${serviceAccount}`;
}
