import { parseImageReference } from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import {
  Informer,
  type InformerContext,
  type InformerProblem,
  metadataOf,
  stringOf,
  type Transform,
} from "./informer.ts";
import { ObjectCache } from "./object_cache.ts";

/** The relevant fields of a pod. */
export interface NodePod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Empty for a static pod, which has no service account. */
  readonly serviceAccount: string;
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

const POD: Transform<NodePod> = {
  transform: readPod,
  isEqual: (a, b) => JSON.stringify(a) === JSON.stringify(b),
};

const SERVICE_ACCOUNT: Transform<KubeServiceAccount> = {
  transform(object) {
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
  },
  isEqual: (a, b) => JSON.stringify(a) === JSON.stringify(b),
};

/** Watches the pods of this node and their service accounts, for all providers. */
export class NodeInformers {
  readonly serviceAccounts: ObjectCache<KubeServiceAccount>;
  readonly #pods: Informer<NodePod>;
  readonly #nodeName: string;
  readonly #listeners: (() => void)[] = [];
  readonly #stop = new AbortController();

  constructor(context: InformerContext, nodeName: string) {
    const changed = () => this.#changed();
    this.#nodeName = nodeName;
    const resource = "serviceaccounts";
    this.serviceAccounts = new ObjectCache({ ...context, ...SERVICE_ACCOUNT, resource, changed });
    this.#pods = new Informer({
      ...context,
      ...POD,
      resource: "pods",
      fieldSelector: `spec.nodeName=${nodeName}`,
      changed,
    });
    void this.#pods.run(this.#stop);
  }

  /** Whether the pods have been listed. */
  get hasSynced(): boolean {
    return this.#pods.hasSynced;
  }

  /** Returns the pods that have not ended. */
  activePods(): readonly NodePod[] {
    return [...this.#pods.items.values()].filter(({ ended }) => !ended);
  }

  /** Calls `listener` when pods or service accounts change. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Resolves when reading pods and service accounts has succeeded or failed. */
  async waitForList(): Promise<void> {
    await this.#pods.waitForList();
    await this.serviceAccounts.waitForList();
  }

  podProblems(): readonly InformerProblem[] {
    const subject = `pods of node ${this.#nodeName}`;
    const problem = this.#pods.problem(subject);
    if (problem !== undefined) return [problem];
    if (!this.hasSynced || this.#pods.items.size > 0) return [];
    // A node without any pod is rare, a wrong node name is not.
    const detail = "the API server returned no pods, check the node name";
    const failure = { reason: "no-secret-matched", detail } as const;
    return [{ subject, failure, unsynced: false, stale: false }];
  }

  stop(): void {
    this.#stop.abort();
    this.serviceAccounts.stop();
  }

  #changed(): void {
    const pods = this.activePods().filter(({ serviceAccount }) => serviceAccount !== "");
    this.serviceAccounts.setReferences(new Set(pods.map(serviceAccountKey)));
    for (const listener of this.#listeners) listener();
  }
}

/** Returns `namespace/name` of a pod's service account. */
export function serviceAccountKey(
  { namespace, serviceAccount }: Pick<NodePod, "namespace" | "serviceAccount">,
): string {
  return `${namespace}/${serviceAccount}`;
}
