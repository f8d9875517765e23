import { parseImageReference, Secret } from "../../lib/model/mod.ts";
import type { PodAccounts } from "../../lib/model/mod.ts";
import type { FakeClock } from "./clock.ts";

type Pods = Awaited<ReturnType<PodAccounts["podsOf"]>>;
type Pod = (Pods & { kind: "pods" })["pods"][number];

/** A cluster in memory, with pods by image and accounts by name. */
export class Cluster implements PodAccounts {
  readonly pods = new Map<string, { readonly image: string; readonly pod: Pod }>();
  readonly accounts = new Map<string, { uid: string; annotations: Record<string, string> }>();
  readonly tokens: string[] = [];
  down = false;
  /** Called while a token is being created. */
  meanwhile = () => {};
  lifetimeMs = 3_600_000;
  readonly clock: FakeClock;
  #next = 0;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  addAccount(name: string, annotations: Record<string, string> = {}): void {
    this.accounts.set(name, { uid: `u${this.#next++}`, annotations });
  }

  addPod(serviceAccount: string, image: string): string {
    const uid = `p${this.#next++}`;
    const pod = { namespace: "n", name: `pod-${uid}`, uid, serviceAccount };
    this.pods.set(uid, { image: parseImageReference(image).text, pod });
    return uid;
  }

  podsOf(image: { readonly text: string }) {
    if (this.down) return Promise.resolve(DOWN);
    const found = [...this.pods.values()].filter((one) => one.image === image.text);
    return Promise.resolve({ kind: "pods", pods: found.map(({ pod }) => pod) } as const);
  }

  account({ uid, serviceAccount }: Pod) {
    if (this.down) return Promise.resolve(DOWN);
    const account = this.accounts.get(serviceAccount);
    return Promise.resolve(
      account === undefined || !this.pods.has(uid)
        ? { kind: "gone" } as const
        : { kind: "account", ...account } as const,
    );
  }

  token(pod: Pod, audience: string, accountUid: string) {
    const account = this.accounts.get(pod.serviceAccount);
    if (this.down) return Promise.resolve(DOWN);
    if (account?.uid !== accountUid) return Promise.resolve({ kind: "gone" } as const);
    const text = [audience, pod.serviceAccount, account.uid, pod.uid, this.tokens.length].join(" ");
    this.tokens.push(text);
    this.meanwhile();
    const expiresAtMs = this.clock.wallMs() + this.lifetimeMs;
    return Promise.resolve({ kind: "token", token: new Secret(text), expiresAtMs } as const);
  }
}

const DOWN = { kind: "failed", reason: "source-unreachable", detail: "away" } as const;
