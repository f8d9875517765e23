import type { Clock, Observer } from "../model/mod.ts";
import type { CredentialStore } from "../store/mod.ts";
import type { Mounts } from "./mounts.ts";

/** What {@linkcode Adoption} works with. */
export interface AdoptionOptions {
  readonly store: CredentialStore;
  readonly clock: Clock;
  readonly observer: Observer;
}

/** Gives every live image its entry in the store, and drops the others. */
export class Adoption {
  readonly #options: AdoptionOptions;
  /** Those that all have their entry, and keep it as long as they live. */
  #adopted: Mounts["subjects"] | undefined;

  constructor(options: AdoptionOptions) {
    this.#options = options;
  }

  /** Takes in the images of the last look. Returns how many live. */
  take({ subjects: live }: Pick<Mounts, "subjects">): number {
    const { store, clock, observer } = this.#options;
    const nowMs = clock.wallMs();
    if (this.#adopted !== live) this.#adopted = this.#ensure(live, nowMs) ? live : undefined;
    if (store.size === live.size && this.#adopted === live) return live.size;
    const minAgeMs = store.settings.refreshIntervalMs / 2;
    for (const { text: image, endpoint } of store.evict(live, nowMs, minAgeMs)) {
      observer.notify({
        kind: "credential-evicted",
        image,
        ...(endpoint && { endpoint: endpoint.text }),
      });
    }
    return live.size;
  }

  /** False when the store had no room for all. */
  #ensure(live: Mounts["subjects"], nowMs: number): boolean {
    const { store, observer } = this.#options;
    let isRoom = true;
    for (const [key, { subject }] of live) {
      if (store.ensure(subject, nowMs)) continue;
      isRoom = false;
      const text = `the store is full: ${key} is not kept fresh`;
      observer.notify({ kind: "warning", code: "store-full", text });
    }
    return isRoom;
  }
}
