import {
  type AccountProblem,
  type AccountResult,
  type Clock,
  defined,
  type ImageReference,
  type PodAccounts,
  type PodIdentity,
  type PodsResult,
  Secret,
  type TokenResult,
} from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import type { KubeClient } from "./client.ts";
import { type InformerProblem, withinStartup } from "./informer.ts";
import { type NodeInformers, serviceAccountKey } from "./node_informers.ts";

/** Dependencies of {@linkcode KubePodAccounts}. */
export interface KubePodAccountsOptions {
  readonly client: KubeClient;
  readonly node: NodeInformers;
  readonly clock: Clock;
  /** Returns the UIDs of pods that pulled an image, according to the CRI proxy. */
  readonly pulledBy?: (image: ImageReference) => readonly string[];
}

const NOT_FOUND = 404;
/** The pod or the service account was replaced by another one with the same name. */
const CONFLICT = 409;

/** Pods of this node, their service accounts and tokens, from the Kubernetes API. */
export class KubePodAccounts implements PodAccounts {
  readonly #options: KubePodAccountsOptions;
  readonly #startedMs: number;

  constructor(options: KubePodAccountsOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
  }

  async podsOf(image: ImageReference): Promise<PodsResult> {
    await this.#waitForFirstList();
    const { node } = this.#options;
    if (!node.hasSynced) return failureOf(node.podProblems());
    const pulled = new Set(this.#options.pulledBy?.(image) ?? []);
    const pods = node.activePods().filter(({ uid, images }) =>
      pulled.has(uid) || images.includes(image.text)
    );
    const [problem] = pods.length === 0 ? node.podProblems() : [];
    const detail = problem && `${problem.subject}: ${problem.failure.detail}`;
    return { kind: "pods", pods, ...defined({ detail }) };
  }

  async account(pod: PodIdentity): Promise<AccountResult> {
    await this.#waitForFirstList();
    const { node, node: { serviceAccounts } } = this.#options;
    const isActive = node.activePods().some(({ uid, serviceAccount }) =>
      uid === pod.uid && serviceAccount === pod.serviceAccount
    );
    const key = serviceAccountKey(pod);
    if (!isActive || serviceAccounts.isMissing(key)) return { kind: "gone" };
    const account = serviceAccounts.get(key);
    if (account !== undefined) return { kind: "account", ...account };
    const subject = `serviceaccount ${key}`;
    return failureOf(serviceAccounts.problems().filter((problem) => problem.subject === subject));
  }

  /** Requests a token like the kubelet: bound to the pod, with the default lifetime. */
  async token(pod: PodIdentity, audience: string, accountUid: string): Promise<TokenResult> {
    const { namespace, name, uid, serviceAccount } = pod;
    const boundObjectRef = { apiVersion: "v1", kind: "Pod", name, uid };
    const result = await this.#options.client.call({
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
    if (result.kind === "ok") return readToken(result.value);
    const { status, reason, detail } = result.failure;
    if (status === NOT_FOUND || status === CONFLICT) return { kind: "gone" };
    const what = `request a token for serviceaccount ${serviceAccountKey(pod)}`;
    return { kind: "failed", reason, detail: `${what}: ${detail}` };
  }

  async #waitForFirstList(): Promise<void> {
    const { clock, node } = this.#options;
    await withinStartup(clock, this.#startedMs, node.waitForList());
  }
}

function readToken({ status }: Fields): TokenResult {
  const { token, expirationTimestamp } = isFields(status) ? status : {};
  if (typeof token !== "string" || token === "") {
    const detail = "the response to a TokenRequest contains no token";
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

function failureOf([problem]: readonly InformerProblem[]): AccountProblem {
  if (problem === undefined) {
    const detail = "the API server has not responded yet";
    return { kind: "failed", reason: "source-unreachable", detail };
  }
  const { subject, failure } = problem;
  const reason = failure.reason === "no-config-file" ? "token-unavailable" : failure.reason;
  return { kind: "failed", reason, detail: `${subject}: ${failure.detail}` };
}
