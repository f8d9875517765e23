import {
  type Clock,
  type Credential,
  defined,
  type ImageReference,
  tokenExpiryOf,
} from "../model/mod.ts";

/** What a pushed credential applies to: one image, or every image of a registry. */
export type PushTarget =
  | { readonly kind: "image"; readonly image: ImageReference }
  | { readonly kind: "registry"; readonly registry: string };

/** A credential that a client pushed through the local API. */
export interface PushedCredential {
  readonly target: PushTarget;
  readonly credential: Credential;
  /** Wall time at which it was pushed. */
  readonly putAtMs: number;
  /** Wall time at which it expires; undefined: valid until it is removed. */
  readonly validUntilMs?: number;
}

/** Dependencies of {@linkcode PushedCredentials}. */
export interface PushedCredentialsOptions {
  readonly clock: Clock;
  /** Called after each change and each expiry. Must not throw. */
  readonly changed?: (target: PushTarget) => void;
}

const MAX_CREDENTIALS = 1_000;
/** Upper bound of one sleep: the wall clock may be set while an expiry is pending. */
const RECHECK_AFTER_MS = 60_000;

/**
 * Stores the credentials that other programs on the node push into the agent, in memory only. At
 * the limit, the oldest one is evicted.
 */
export class PushedCredentials implements Disposable {
  readonly #options: PushedCredentialsOptions;
  readonly #byKey = new Map<string, PushedCredential>();
  readonly #stop = new AbortController();

  constructor(options: PushedCredentialsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Returns the valid credentials, the newest last. */
  list(): readonly PushedCredential[] {
    return [...this.#byKey.values()].filter((pushed) => this.#isValid(pushed));
  }

  /**
   * Stores a credential and replaces the previous one of the same target. It expires at the given
   * time or when its own token expires, whichever is earlier.
   */
  put(
    target: PushTarget,
    credential: Credential,
    { validUntilMs = Infinity }: { readonly validUntilMs?: number } = {},
  ): PushedCredential {
    const putAtMs = this.#options.clock.wallMs();
    const { expiresAtMs = Infinity } = tokenExpiryOf(credential, putAtMs);
    const untilMs = Math.min(validUntilMs, expiresAtMs);
    const pushed: PushedCredential = {
      target,
      credential,
      putAtMs,
      ...defined({ validUntilMs: untilMs === Infinity ? undefined : untilMs }),
    };
    const key = keyOf(target);
    this.#byKey.delete(key);
    this.#byKey.set(key, pushed);
    const [oldest] = this.#byKey.keys();
    if (this.#byKey.size > MAX_CREDENTIALS && oldest !== undefined) this.#byKey.delete(oldest);
    this.#options.changed?.(target);
    if (untilMs !== Infinity) void this.#expire(key, pushed, untilMs);
    return pushed;
  }

  /** Removes the credential of a target. Returns false when there was none. */
  forget(target: PushTarget): boolean {
    if (!this.#byKey.delete(keyOf(target))) return false;
    this.#options.changed?.(target);
    return true;
  }

  /** Returns the credential for an image: the image's own, its repository's or its registry's. */
  lookup(image: ImageReference): PushedCredential | undefined {
    if (this.#byKey.size === 0) return undefined;
    return this.#valid(image.text) ?? this.#forRepository(image) ?? this.#valid(image.registry);
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#byKey.clear();
  }

  #valid(key: string): PushedCredential | undefined {
    const pushed = this.#byKey.get(key);
    return pushed !== undefined && this.#isValid(pushed) ? pushed : undefined;
  }

  /** A mount may know only the repository of its image: then any tag's credential applies. */
  #forRepository({ registry, repository, tag, digest }: ImageReference) {
    if (tag !== undefined || digest !== undefined) return undefined;
    return this.list().findLast(({ target }) =>
      target.kind === "image" && target.image.registry === registry &&
      target.image.repository === repository
    );
  }

  #isValid({ validUntilMs = Infinity }: PushedCredential): boolean {
    return validUntilMs > this.#options.clock.wallMs();
  }

  async #expire(key: string, pushed: PushedCredential, untilMs: number): Promise<void> {
    const { clock, changed } = this.#options;
    try {
      while (this.#byKey.get(key) === pushed && this.#isValid(pushed)) {
        const remainingMs = Math.min(untilMs - clock.wallMs(), RECHECK_AFTER_MS);
        await clock.sleep(remainingMs, { signal: this.#stop.signal });
      }
    } catch {
      return; // the agent is stopping
    }
    if (this.#byKey.get(key) !== pushed) return;
    this.#byKey.delete(key);
    changed?.(pushed.target);
  }
}

/** Keys of images and registries cannot collide: only an image reference contains a slash. */
function keyOf(target: PushTarget): string {
  return target.kind === "image" ? target.image.text : target.registry;
}
