/** An object of the core API as JSON. */
export interface KubeObject {
  readonly type?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/** The simulated resources and their kinds. */
export const KUBE_KINDS = {
  secrets: "Secret",
  pods: "Pod",
  serviceaccounts: "ServiceAccount",
} as const;
/** A simulated resource. */
export type KubeResource = keyof typeof KUBE_KINDS;

/** An event of a watch. */
export interface KubeEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: KubeResource;
  readonly version: number;
  readonly object: KubeObject;
}

/** The objects of a call. */
export interface KubeSelection {
  readonly resource: KubeResource;
  /** Undefined for all namespaces. */
  readonly namespace?: string;
  /** `field=value`, joined by commas. */
  readonly fieldSelector: string;
}

const MAX_EVENTS = 20_000;

/** The objects of a cluster, with the event history for watches. */
export class KubeObjects {
  readonly #objects = new Map<string, KubeObject>();
  #events: KubeEvent[] = [];
  #version = 1_000;
  /** Oldest version in the history: a watch from an earlier one gets 410. */
  #oldest = 1_000;
  readonly #watchers = new Set<(event: KubeEvent) => void>();

  /** Resource version, which grows with every change. */
  get version(): number {
    return this.#version;
  }

  get oldestVersion(): number {
    return this.#oldest;
  }

  /** Creates or replaces an object. */
  put(resource: KubeResource, object: KubeObject): KubeObject {
    const { namespace, name } = object.metadata;
    const key = `${resource}/${namespace}/${name}`;
    const before = this.#objects.get(key);
    const version = ++this.#version;
    const uid = object.metadata.uid ?? before?.metadata.uid ?? crypto.randomUUID();
    const stored: KubeObject = {
      apiVersion: "v1",
      kind: KUBE_KINDS[resource],
      ...object,
      metadata: { ...object.metadata, uid, resourceVersion: String(version) },
    };
    this.#objects.set(key, stored);
    this.#notify({ type: before ? "MODIFIED" : "ADDED", resource, version, object: stored });
    return stored;
  }

  remove(resource: KubeResource, namespace: string, name: string): void {
    const key = `${resource}/${namespace}/${name}`;
    const before = this.#objects.get(key);
    if (before === undefined) return;
    this.#objects.delete(key);
    const version = ++this.#version;
    const metadata = { ...before.metadata, resourceVersion: String(version) };
    this.#notify({ type: "DELETED", resource, version, object: { ...before, metadata } });
  }

  get(resource: KubeResource, namespace: string, name: string): KubeObject | undefined {
    return this.#objects.get(`${resource}/${namespace}/${name}`);
  }

  /** Returns the selected objects, ordered by key. */
  select(selection: KubeSelection): readonly (readonly [string, KubeObject])[] {
    return [...this.#objects].filter(([key, object]) =>
      key.startsWith(`${selection.resource}/`) && isSelected(object, selection)
    ).sort(([a], [b]) => a < b ? -1 : 1);
  }

  /** Returns the events after a version. */
  since(version: number, selection: KubeSelection): readonly KubeEvent[] {
    return this.#events.filter((event) =>
      event.version > version && event.resource === selection.resource &&
      isSelected(event.object, selection)
    );
  }

  /** Calls `onEvent` for every event of a selection, until disposed. */
  follow(selection: KubeSelection, onEvent: (event: KubeEvent) => void): Disposable {
    const watcher = (event: KubeEvent) => {
      if (event.resource !== selection.resource || !isSelected(event.object, selection)) return;
      onEvent(event);
    };
    this.#watchers.add(watcher);
    return { [Symbol.dispose]: () => this.#watchers.delete(watcher) };
  }

  /** Drops the event history, as a server does after some time. */
  compact(): void {
    this.#oldest = ++this.#version;
    this.#events = [];
  }

  #notify(event: KubeEvent): void {
    this.#events.push(event);
    if (this.#events.length > MAX_EVENTS) {
      this.#oldest = this.#events[MAX_EVENTS / 2]?.version ?? this.#version;
      this.#events = this.#events.slice(MAX_EVENTS / 2 + 1);
    }
    for (const watcher of [...this.#watchers]) watcher(event);
  }
}

function isSelected(
  object: KubeObject,
  { namespace, fieldSelector }: KubeSelection,
): boolean {
  if (namespace !== undefined && object.metadata.namespace !== namespace) return false;
  return fieldSelector.split(",").filter((term) => term !== "").every((term) => {
    const [path = "", value = ""] = term.split("=");
    const found = path.split(".").reduce<unknown>(
      (at, name) => (at as Record<string, unknown> | undefined)?.[name],
      object,
    );
    return found === value;
  });
}
