import { type Fields, isFields } from "../../formats/mod.ts";
import {
  type AccountProblem,
  type AccountResult,
  defined,
  type ImageReference,
  parseImageReference,
  type PodAccounts,
  type PodIdentity,
  type PodsResult,
  Secret,
  type TokenResult,
} from "../../model/mod.ts";
import {
  Informer,
  type InformerContext,
  type InformerProblem,
  metadataOf,
  ObjectCache,
  stringOf,
} from "./informer.ts";

/** The relevant fields of a pod. */
export interface NodePod extends PodIdentity {
  /** Names of secrets in the pod's namespace. */
  readonly pullSecrets: readonly string[];
  /** Images of its containers and volumes, from the spec and from the status; normalized. */
  readonly images: readonly string[];
  /** All containers have terminated and will not be restarted. */
  readonly ended: boolean;
}

/** The relevant fields of a service account. */
export interface KubeServiceAccount {
  readonly uid: string;
  readonly pullSecrets: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
}

const MAX_NAMES = 100;
/** Limit on waiting for the first lists after the start (ms). */
const STARTUP_MS = 10_000;

/** Reads a pod of the core API. Missing fields are empty. */
export function readPod(object: Fields): NodePod {
  const metadata = metadataOf(object);
  const spec = isFields(object["spec"]) ? object["spec"] : {};
  const status = isFields(object["status"]) ? object["status"] : {};
  const containers = ["initContainers", "containers", "ephemeralContainers"]
    .flatMap((field) => objectsOf(spec[field]));
  const statuses = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"]
    .flatMap((field) => objectsOf(status[field]));
  const volumes = objectsOf(spec["volumes"]).map((volume) => volume["image"]).filter(isFields);
  const images = [
    ...containers.map((container) => container["image"]),
    ...statuses.flatMap((one) => [one["image"], one["imageID"]]),
    ...volumes.map((image) => image["reference"]),
  ].map(stringOf).filter((image) => image !== "");
  const phase = status["phase"];
  return {
    namespace: stringOf(metadata["namespace"]),
    name: stringOf(metadata["name"]),
    uid: stringOf(metadata["uid"]),
    serviceAccount: stringOf(spec["serviceAccountName"]),
    pullSecrets: pullSecretsOf(spec),
    images: [...new Set(images.flatMap(normalizedImage))].slice(0, MAX_NAMES),
    ended: phase === "Succeeded" || phase === "Failed",
  };
}

/** Returns no image for what is not a reference, such as an image ID. */
function normalizedImage(image: string): string[] {
  try {
    return [parseImageReference(image.replace(/^[a-z-]+:\/\//, "")).text];
  } catch {
    return [];
  }
}

function pullSecretsOf(object: Fields): string[] {
  return objectsOf(object["imagePullSecrets"]).map(({ name }) => stringOf(name))
    .filter((name) => name !== "").slice(0, MAX_NAMES);
}

function objectsOf(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isFields) : [];
}

function readServiceAccount(object: Fields): KubeServiceAccount {
  const metadata = metadataOf(object);
  const annotations = isFields(metadata["annotations"]) ? metadata["annotations"] : {};
  return {
    uid: stringOf(metadata["uid"]),
    pullSecrets: pullSecretsOf(object),
    annotations: Object.fromEntries(
      Object.entries(annotations).flatMap(([key, value]) =>
        typeof value === "string" ? [[key, value]] : []
      ),
    ),
  };
}

/** Dependencies of {@linkcode NodePods}. */
export interface NodePodsOptions extends InformerContext {
  readonly nodeName: string;
  /** Returns the UIDs of pods that pulled an image, according to the CRI proxy. */
  readonly pulledBy?: (image: ImageReference) => readonly string[];
  /** Called when pods or service accounts have changed. */
  readonly changed: () => void;
}

const NOT_FOUND = 404;
/** The pod or the service account was replaced by another one with the same name. */
const CONFLICT = 409;

/** Watches the pods of this node and their service accounts, and requests tokens for them. */
export class NodePods implements PodAccounts {
  readonly serviceAccounts: ObjectCache<KubeServiceAccount>;
  readonly #options: NodePodsOptions;
  readonly #pods: Informer<NodePod>;
  readonly #startedMs: number;
  readonly #stop = new AbortController();

  constructor(options: NodePodsOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
    const changed = () => this.#changed();
    this.serviceAccounts = new ObjectCache({
      ...options,
      transform: readServiceAccount,
      resource: "serviceaccounts",
      changed,
    });
    this.#pods = new Informer({
      ...options,
      transform: readPod,
      resource: "pods",
      fieldSelector: `spec.nodeName=${options.nodeName}`,
      changed,
    });
    void this.#pods.run(this.#stop);
  }

  /** Returns the pods that have not ended. */
  activePods(): readonly NodePod[] {
    return [...this.#pods.items.values()].filter(({ ended }) => !ended);
  }

  /**
   * Resolves when reading pods, service accounts and `others` has succeeded or failed, but at the
   * latest some time after the start.
   */
  async waitForLists(others?: Pick<ObjectCache<unknown>, "waitForList">): Promise<void> {
    const { clock } = this.#options;
    const remainingMs = this.#startedMs + STARTUP_MS - clock.monotonicMs();
    if (remainingMs <= 0) return;
    const done = new AbortController();
    const sleep = clock.sleep(remainingMs, done).catch(() => {});
    const listed = async () => {
      await this.#pods.waitForList();
      await this.serviceAccounts.waitForList();
      await others?.waitForList();
    };
    await Promise.race([listed(), sleep]);
    done.abort();
  }

  /** Returns the problems of pods and service accounts. */
  problems(): readonly InformerProblem[] {
    // Service accounts only add references to those of the pods: the result is still usable.
    const ofAccounts = this.serviceAccounts.problems().map((one) => ({ ...one, unsynced: false }));
    return [...this.#podProblems(), ...ofAccounts];
  }

  #podProblems(): readonly InformerProblem[] {
    const subject = `pods of node ${this.#options.nodeName}`;
    const problem = this.#pods.problem(subject);
    if (problem !== undefined) return [problem];
    if (!this.#pods.hasSynced || this.#pods.items.size > 0) return [];
    // A node without any pod is rare, a wrong node name is not.
    const detail = "the API server returned no pods, check the node name";
    const failure = { reason: "no-secret-matched", detail } as const;
    return [{ subject, failure, unsynced: false, stale: false }];
  }

  async podsOf(image: ImageReference): Promise<PodsResult> {
    await this.waitForLists();
    if (!this.#pods.hasSynced) return failureOf(this.#podProblems());
    const pulled = new Set(this.#options.pulledBy?.(image) ?? []);
    const pods = this.activePods().filter(({ uid, images }) =>
      pulled.has(uid) || images.includes(image.text)
    );
    const [problem] = pods.length === 0 ? this.#podProblems() : [];
    const detail = problem && `${problem.subject}: ${problem.failure.detail}`;
    return { kind: "pods", pods, ...defined({ detail }) };
  }

  async account(pod: PodIdentity): Promise<AccountResult> {
    await this.waitForLists();
    const isActive = this.activePods().some(({ uid, serviceAccount }) =>
      uid === pod.uid && serviceAccount === pod.serviceAccount
    );
    const key = serviceAccountKey(pod);
    if (!isActive || this.serviceAccounts.isMissing(key)) return { kind: "gone" };
    const account = this.serviceAccounts.get(key);
    if (account !== undefined) return { kind: "account", ...account };
    const subject = `serviceaccount ${key}`;
    return failureOf(this.serviceAccounts.problems().filter((one) => one.subject === subject));
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

  stop(): void {
    this.#stop.abort();
    this.serviceAccounts.stop();
  }

  #changed(): void {
    const pods = this.activePods().filter(({ serviceAccount }) => serviceAccount !== "");
    this.serviceAccounts.setReferences(new Set(pods.map(serviceAccountKey)));
    this.#options.changed();
  }
}

/** Returns `namespace/name` of a pod's service account. */
export function serviceAccountKey({ namespace, serviceAccount }: PodIdentity): string {
  return `${namespace}/${serviceAccount}`;
}

function readToken({ status }: Fields): TokenResult {
  const { token, expirationTimestamp } = isFields(status) ? status : {};
  if (typeof token !== "string" || token === "") {
    const detail = "the response to a TokenRequest contains no token";
    return { kind: "failed", reason: "token-unavailable", detail };
  }
  const expiresAtMs = Date.parse(stringOf(expirationTimestamp));
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
