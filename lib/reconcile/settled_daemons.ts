import type { Daemon, RafsInstance } from "../model/mod.ts";
import type { CredentialStore } from "../store/mod.ts";
import { type InstanceBook, isSettledWith } from "./instance_book.ts";
import { storeKeyOf } from "./mounts.ts";

/** What it depends on that every mount of a daemon is as it should be. */
interface Settled {
  readonly held: Daemon["held"];
  readonly pid: number | undefined;
  readonly bookChanges: number;
  readonly storeChanges: number;
}

/**
 * Daemons whose every mount was compared and found right. While the daemon, the book and the store
 * say what they said then, there is nothing to compare, however many mounts there are.
 */
export class SettledDaemons {
  readonly #book: InstanceBook;
  readonly #store: CredentialStore;
  /** A look that finds the same mounts gives the same array. */
  readonly #settled = new WeakMap<readonly RafsInstance[], Settled>();

  constructor(book: InstanceBook, store: CredentialStore) {
    this.#book = book;
    this.#store = store;
  }

  has({ instances, held, pid, state }: Daemon): boolean {
    const settled = this.#settled.get(instances);
    return settled !== undefined && state === "running" &&
      settled.held === held && settled.pid === pid &&
      settled.bookChanges === this.#book.changes && settled.storeChanges === this.#store.changes;
  }

  /** Takes in a daemon of which {@linkcode isMountSettled} is true for every mount. */
  add({ instances, held, pid }: Daemon): void {
    const [bookChanges, storeChanges] = [this.#book.changes, this.#store.changes];
    this.#settled.set(instances, { held, pid, bookChanges, storeChanges });
  }

  /** Whether nothing has changed since this mount was compared and found right. */
  isMountSettled({ held }: Daemon, instance: RafsInstance): boolean {
    const key = storeKeyOf(instance);
    if (key === undefined || instance.mountId === undefined) return false;
    const entry = this.#store.get(key);
    const record = this.#book.get(this.#book.keyOf(instance));
    return isSettledWith(record, entry, held?.get(instance.mountId));
  }
}
