import { parseImageReference } from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import type { KubeFailure } from "./kube_client.ts";
import type { KubeFollowing, KubeProblem, Projection } from "./kube_sources.ts";
import { metadataOf } from "./kube_object.ts";
import { ListWatch } from "./list_watch.ts";

/** What matters here of a pod. */
export interface NodePod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Empty for a static pod: it runs in nobody's name. */
  readonly serviceAccount: string;
  /** Names of secrets in its namespace. */
  readonly pullSecrets: readonly string[];
  /** The images of its containers, as the pod and as the container runtime say; normalized. */
  readonly images: readonly string[];
  /** Its containers have ended for good, or it is told to go and its node forgot it. */
  readonly ended: boolean;
}

const MAX_NAMES = 100;

/** Reads a pod of the core API; what is missing is empty. */
export function readPod(object: Fields): NodePod {
  const metadata = metadataOf(object);
  const spec = isFields(object["spec"]) ? object["spec"] : {};
  const status = isFields(object["status"]) ? object["status"] : {};
  const containers = ["initContainers", "containers", "ephemeralContainers"]
    .flatMap((field) => objects(spec[field]));
  const statuses = [
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
  ].flatMap((field) => objects(status[field]));
  const volumes = objects(spec["volumes"]).map((volume) => volume["image"]).filter(isFields);
  const images = [
    ...containers.map((container) => container["image"]),
    ...statuses.flatMap((one) => [one["image"], one["imageID"]]),
    ...volumes.map((image) => image["reference"]),
  ].filter((image): image is string => typeof image === "string" && image !== "");
  const names = objects(spec["imagePullSecrets"]).map((reference) => reference["name"]);
  const jitter = status["jitter"];
  return {
    namespace: text(metadata["namespace"]),
    name: text(metadata["name"]),
    uid: text(metadata["uid"]),
    serviceAccount: text(spec["serviceAccountName"]),
    pullSecrets: names.filter((name) => typeof name === "string" && name !== "")
      .slice(0, MAX_NAMES) as string[],
    images: [...new Set(images.flatMap(normalized))].slice(0, MAX_NAMES),
    ended: jitter === "Succeeded" || jitter === "Failed",
  };
}

/** What is no reference (an ID of an image) names none. */
function normalized(image: string): string[] {
  try {
    return [parseImageReference(image.replace(/^[a-z-]+:\/\//, "")).text];
  } catch {
    return [];
  }
}

function objects(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isFields) : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

const POD: Projection<NodePod> = {
  read: readPod,
  same: (a, b) => JSON.stringify(a) === JSON.stringify(b),
};

/** The pods of one node. */
export class NodePods {
  readonly #watch: ListWatch<NodePod>;
  readonly #nodeName: string;
  readonly #stop = new AbortController();

  constructor(following: KubeFollowing, nodeName: string, changed: () => void) {
    this.#nodeName = nodeName;
    this.#watch = new ListWatch({
      ...following,
      ...POD,
      resource: "pods",
      fieldSelector: `spec.nodeName=${nodeName}`,
      // By its cache the server finds a node's pods; without it, it would read those of all nodes.
      cached: true,
      changed,
    });
    void this.#watch.run(this.#stop);
  }

  get synced(): boolean {
    return this.#watch.synced;
  }

  /** Those whose containers run, or will. */
  active(): NodePod[] {
    return [...this.#watch.items.values()].filter(({ ended }) => !ended);
  }

  attempted(): Promise<void> {
    return this.#watch.attempted();
  }

  refresh(): Promise<void> {
    return this.#watch.refresh();
  }

  problems(): readonly KubeProblem[] {
    const failure = this.#watch.failure ?? this.#watch.unwatchable ?? this.#emptiness();
    if (failure === undefined) return [];
    const subject = `pods of node ${this.#nodeName}`;
    const { synced, failure: stale } = this.#watch;
    return [{ subject, failure, unknown: !synced, stale: stale !== undefined }];
  }

  /** A node without any pod is rare; one whose name is another is not. */
  #emptiness(): KubeFailure | undefined {
    if (!this.#watch.synced || this.#watch.items.size > 0) return undefined;
    const detail = "the API server knows none there: is this the name of the node?";
    return { reason: "no-secret-matched", detail };
  }

  stop(): void {
    this.#stop.abort();
  }
}

/** What matters here of a service account. */
export interface KubeAccount {
  readonly uid: string;
  readonly pullSecrets: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
}

/** How service accounts are read. */
export const ACCOUNT: Projection<KubeAccount> = {
  read(object) {
    const metadata = metadataOf(object);
    const annotations = isFields(metadata["annotations"]) ? metadata["annotations"] : {};
    const names = objects(object["imagePullSecrets"]).map(({ name }) => text(name));
    return {
      uid: text(metadata["uid"]),
      pullSecrets: names.filter((name) => name !== "").slice(0, MAX_NAMES),
      annotations: Object.fromEntries(
        Object.entries(annotations).flatMap(([key, value]) =>
          typeof value === "string" ? [[key, value]] : []
        ),
      ),
    };
  },
  same: (a, b) => JSON.stringify(a) === JSON.stringify(b),
};
