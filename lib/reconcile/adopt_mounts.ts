import type { Clock, Observer } from "../model/mod.ts";
import type { CredentialStore } from "../store/mod.ts";
import type { Mounts } from "./mounts.ts";

/** Gives every live image its entry, and drops the others. Returns how many live. */
export function adoptMounts(
  mounts: Pick<Mounts, "subjects">,
  { store, clock, observer }: {
    readonly store: CredentialStore;
    readonly clock: Clock;
    readonly observer: Observer;
  },
): number {
  const nowMs = clock.wallMs();
  const live = mounts.subjects;
  let isFull = false;
  for (const [key, { subject }] of live) {
    if (store.ensure(subject, nowMs)) continue;
    isFull = true;
    const text = `the store is full: ${key} is not kept fresh`;
    observer.notify({ kind: "warning", code: "store-full", text });
  }
  if (store.size === live.size && !isFull) return live.size;
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
