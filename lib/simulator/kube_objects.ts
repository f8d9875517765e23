/** An object of the core API, as JSON has it. */
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

/** The resources that the stand-in serves, with what the API calls one of them. */
export const KUBE_KINDS = {
  secrets: "Secret",
  pods: "Pod",
  serviceaccounts: "ServiceAccount",
} as const;
/** A resource that the stand-in serves. */
export type KubeResource = keyof typeof KUBE_KINDS;

/** What a watch is told. */
export interface KubeEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: KubeResource;
  readonly version: number;
  readonly object: KubeObject;
}

/** Which objects a call is about. */
export interface KubeSelection {
  readonly resource: KubeResource;
  /** Undefined: all of them. */
  readonly namespace?: string;
  /** `field=value`, joined by commas. */
  readonly fieldSelector: string;
}

const MAX_EVENTS = 20_000;

/** The objects of a cluster, with the history that watches go on from. */
export class KubeObjects {
  readonly #objects = new Map<string, KubeObject>();
  #events: KubeEvent[] = [];
  #version = 1_000;
  /** Older versions than this are gone: a watch from there gets 410. */
  #oldest = 1_000;
  readonly #watchers = new Set<(event: KubeEvent) => void>();

  /** The version of the whole, which grows with every change. */
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
    this.#tell({ type: before ? "MODIFIED" : "ADDED", resource, version, object: stored });
    return stored;
  }

  remove(resource: KubeResource, namespace: string, name: string): void {
    const key = `${resource}/${namespace}/${name}`;
    const before = this.#objects.get(key);
    if (before === undefined) return;
    this.#objects.delete(key);
    const version = ++this.#version;
    const metadata = { ...before.metadata, resourceVersion: String(version) };
    this.#tell({ type: "DELETED", resource, version, object: { ...before, metadata } });
  }

  get(resource: KubeResource, namespace: string, name: string): KubeObject | undefined {
    return this.#objects.get(`${resource}/${namespace}/${name}`);
  }

  /** In the order of their keys. */
  select(selection: KubeSelection): readonly (readonly [string, KubeObject])[] {
    return [...this.#objects].filter(([key, object]) =>
      key.startsWith(`${selection.resource}/`) && isSelected(object, selection)
    ).sort(([a], [b]) => a < b ? -1 : 1);
  }

  /** What happened after a version. */
  since(version: number, selection: KubeSelection): readonly KubeEvent[] {
    return this.#events.filter((event) =>
      event.version > version && event.resource === selection.resource &&
      isSelected(event.object, selection)
    );
  }

  /** Calls back for every event of a selection, until disposed. */
  follow(selection: KubeSelection, heard: (event: KubeEvent) => void): Disposable {
    const watcher = (event: KubeEvent) => {
      if (event.resource !== selection.resource || !isSelected(event.object, selection)) return;
      heard(event);
    };
    this.#watchers.add(watcher);
    return { [Symbol.dispose]: () => this.#watchers.delete(watcher) };
  }

  /** Forgets the history, as a server does after a while: older versions are gone. */
  compact(): void {
    this.#oldest = ++this.#version;
    this.#events = [];
  }

  #tell(event: KubeEvent): void {
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
