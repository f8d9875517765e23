import { type Clock, type ImageReference, Secret } from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import type {
  AccountProblem,
  AccountResult,
  PodAccounts,
  PodIdentity,
  PodsResult,
  TokenResult,
} from "../../model/mod.ts";
import type { KubeClient } from "./kube_client.ts";
import { accountKey, type KubeNode } from "./kube_node.ts";
import type { KubeProblem } from "./kube_sources.ts";

/** What pods and accounts are found with. */
export interface KubePodAccountsOptions {
  readonly client: KubeClient;
  readonly node: KubeNode;
  readonly clock: Clock;
  /** UIDs of pods that were seen to pull an image, whatever the API says of their containers. */
  readonly pulledBy?: (image: ImageReference) => readonly string[];
}

/** How long the first question waits for what the API server says. */
const FIRST_ANSWER_MS = 10_000;
const NOT_FOUND = 404;
/** The pod or the account of this name is another by now. */
const CONFLICT = 409;

/** Pods of this node, their accounts and their tokens, by the Kubernetes API. */
export class KubePodAccounts implements PodAccounts {
  readonly #options: KubePodAccountsOptions;
  readonly #startedMs: number;

  constructor(options: KubePodAccountsOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
  }

  async podsOf(image: ImageReference): Promise<PodsResult> {
    await this.#firstAnswer();
    const { pods } = this.#options.node;
    if (!pods.synced) return problemOf(pods.problems());
    const pulled = new Set(this.#options.pulledBy?.(image) ?? []);
    const found = pods.active().filter(({ uid, images }) =>
      pulled.has(uid) || images.includes(image.text)
    );
    const [problem] = found.length === 0 ? pods.problems() : [];
    const detail = problem && `${problem.subject}: ${problem.failure.detail}`;
    return { kind: "pods", pods: found, ...(detail !== undefined && { detail }) };
  }

  async account(pod: PodIdentity): Promise<AccountResult> {
    await this.#firstAnswer();
    const { pods, accounts } = this.#options.node;
    const isActive = pods.active().some(({ uid, serviceAccount }) =>
      uid === pod.uid && serviceAccount === pod.serviceAccount
    );
    const key = accountKey(pod);
    if (!isActive || accounts.isMissing(key)) return { kind: "gone" };
    const account = accounts.get(key);
    if (account !== undefined) return { kind: "account", ...account };
    const subject = `serviceaccount ${key}`;
    return problemOf(accounts.problems().filter((problem) => problem.subject === subject));
  }

  /** As the kubelet asks for it: bound to the pod, for as long as the server thinks right. */
  async token(pod: PodIdentity, audience: string, accountUid: string): Promise<TokenResult> {
    const { namespace, name, uid, serviceAccount } = pod;
    const boundObjectRef = { apiVersion: "v1", kind: "Pod", name, uid };
    const answer = await this.#options.client.call({
      verb: "create",
      resource: "serviceaccounts",
      subresource: "token",
      namespace,
      name: serviceAccount,
      body: {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        metadata: { uid: accountUid },
        spec: { audiences: [audience], boundObjectRef },
      },
    });
    if (answer.kind === "ok") return readToken(answer.value);
    const { status, reason, detail } = answer.failure;
    if (status === NOT_FOUND || status === CONFLICT) return { kind: "gone" };
    return { kind: "failed", reason, detail: `ask for a token of ${accountKey(pod)}: ${detail}` };
  }

  async #firstAnswer(): Promise<void> {
    const { clock, node } = this.#options;
    const restMs = this.#startedMs + FIRST_ANSWER_MS - clock.monotonicMs();
    if (restMs <= 0) return;
    const done = new AbortController();
    const sleep = clock.sleep(restMs, { signal: done.signal }).catch(() => {});
    await Promise.race([node.attempted(), sleep]);
    done.abort();
  }
}

function readToken({ status }: Fields): TokenResult {
  const { token, expirationTimestamp } = isFields(status) ? status : {};
  if (typeof token !== "string" || token === "") {
    const detail = "the API server answered a TokenRequest without a token";
    return { kind: "failed", reason: "token-unavailable", detail };
  }
  const expiresAtMs = typeof expirationTimestamp === "string"
    ? Date.parse(expirationTimestamp)
    : NaN;
  return {
    kind: "token",
    token: new Secret(token),
    ...(Number.isFinite(expiresAtMs) && { expiresAtMs }),
  };
}

function problemOf([problem]: readonly KubeProblem[]): AccountProblem {
  if (problem === undefined) {
    const detail = "the API server has not answered yet";
    return { kind: "failed", reason: "source-unreachable", detail };
  }
  const { subject, failure } = problem;
  const reason = failure.reason === "no-config-file" ? "token-unavailable" : failure.reason;
  return { kind: "failed", reason, detail: `${subject}: ${failure.detail}` };
}
