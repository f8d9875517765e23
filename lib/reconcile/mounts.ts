import {
  type CredentialSubject,
  type Daemon,
  type NodeView,
  type RafsInstance,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";

/** A mount, and the daemon that serves it. */
export interface Mount {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
}

/** The mounts of a node by what their credential is for; worked out once for each look. */
export class MountIndex {
  readonly #view: () => NodeView;
  #indexed: NodeView | undefined;
  #bySubject: ReadonlyMap<string, readonly Mount[]> = new Map();

  constructor(view: () => NodeView) {
    this.#view = view;
  }

  /** All of them, by {@linkcode subjectKey}. Mounts whose image is not known are left out. */
  bySubject(): ReadonlyMap<string, readonly Mount[]> {
    const view = this.#view();
    if (view !== this.#indexed) this.#bySubject = mountsBySubject(view.daemons);
    this.#indexed = view;
    return this.#bySubject;
  }

  /** Those of one subject. */
  of(subject: CredentialSubject): readonly Mount[] {
    return this.bySubject().get(subjectKey(subject)) ?? [];
  }
}

function mountsBySubject(daemons: readonly Daemon[]): Map<string, Mount[]> {
  const bySubject = new Map<string, Mount[]>();
  for (const daemon of daemons) {
    for (const instance of daemon.instances) {
      const subject = subjectOf(instance);
      if (subject === undefined) continue;
      const key = subjectKey(subject);
      const mounts = bySubject.get(key);
      if (mounts === undefined) bySubject.set(key, [{ daemon, instance }]);
      else mounts.push({ daemon, instance });
    }
  }
  return bySubject;
}
