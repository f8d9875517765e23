import type { Clock, Random } from "../../model/mod.ts";
import type { Fields } from "../../formats/mod.ts";
import type { KubeCallSpec, KubeClient } from "./kube_client.ts";

/** What following objects takes. */
export interface ListWatchOptions<T> {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly resource: KubeCallSpec["resource"];
  /** Undefined: all namespaces. */
  readonly namespace?: string;
  /** One object alone: it is got, never listed. */
  readonly name?: string;
  readonly fieldSelector?: string;
  /** The first list may come from the server's cache: for what it would else search all data. */
  readonly cached?: true;
  /** Between two looks where RBAC does not allow watching. */
  readonly pollMs: number;
  /** Never watched, looked at from time to time. */
  readonly polled?: true;
  /** Over which of several connections it is watched. */
  readonly lane?: number;
  /** Takes from an object what is kept of it. */
  readonly read: (object: Fields) => T;
  /** Whether two readings mean the same. */
  readonly same: (a: T, b: T) => boolean;
  /** Something is different now, or known for the first time. */
  readonly changed: () => void;
}
