import { type Clock, type Credential, type ImageReference, tokenExpiryOf } from "../model/mod.ts";

/** What a credential was put for: one image, or every image of a registry. */
export type PutTarget =
  | { readonly kind: "image"; readonly image: ImageReference }
  | { readonly kind: "registry"; readonly registry: string };

/** A credential that somebody handed over. */
export interface PutCredential {
  readonly target: PutTarget;
  readonly credential: Credential;
  /** Wall time. */
  readonly putAtMs: number;
  /** Wall time until which it counts; undefined: until it is forgotten. */
  readonly validUntilMs?: number;
}

/** What credentials are put in and looked up by. */
export interface PutCredentialsOptions {
  readonly clock: Clock;
  /** Called after each change, and when one has ended. Must not throw. */
  readonly changed?: (target: PutTarget) => void;
}

const MAX_PUT = 1_000;
/** The wall clock may be set while we wait for an end. */
const RECHECK_AFTER_MS = 60_000;

/**
 * Credentials that other programs of the node put into the agent, in memory alone. Beyond the limit
 * the one put longest ago makes room.
 */
export class PutCredentials implements Disposable {
  readonly #options: PutCredentialsOptions;
  readonly #byKey = new Map<string, PutCredential>();
  readonly #stop = new AbortController();

  constructor(options: PutCredentialsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** All of them, the newest last. */
  list(): readonly PutCredential[] {
    return [...this.#byKey.values()].filter((put) => this.#counts(put));
  }

  /**
   * Takes a credential in the place of what was put for the same target before. It ends with the
   * earlier of the given lifetime and what the token itself says.
   */
  put(
    target: PutTarget,
    credential: Credential,
    { validUntilMs }: { readonly validUntilMs?: number } = {},
  ): PutCredential {
    const putAtMs = this.#options.clock.wallMs();
    const { expiresAtMs } = tokenExpiryOf(credential, putAtMs);
    const ends = [validUntilMs, expiresAtMs].filter((ms) => ms !== undefined);
    const put: PutCredential = {
      target,
      credential,
      putAtMs,
      ...(ends.length > 0 && { validUntilMs: Math.min(...ends) }),
    };
    const key = keyOf(target);
    this.#byKey.delete(key);
    this.#byKey.set(key, put);
    const [oldest] = this.#byKey.keys();
    if (this.#byKey.size > MAX_PUT && oldest !== undefined) this.#byKey.delete(oldest);
    this.#options.changed?.(target);
    if (put.validUntilMs !== undefined) void this.#end(key, put, put.validUntilMs);
    return put;
  }

  /** Forgets what was put for a target. False when there was nothing. */
  forget(target: PutTarget): boolean {
    if (!this.#byKey.delete(keyOf(target))) return false;
    this.#options.changed?.(target);
    return true;
  }

  /** What counts for an image: its own, its repository's, its registry's. */
  lookup(image: ImageReference): PutCredential | undefined {
    if (this.#byKey.size === 0) return undefined;
    const own = this.#byKey.get(image.text);
    if (own !== undefined && this.#counts(own)) return own;
    // A mount may know no more of its image than the repository.
    const sameRepository = image.tag !== undefined || image.digest !== undefined
      ? undefined
      : this.list().findLast(({ target }) =>
        target.kind === "image" && target.image.registry === image.registry &&
        target.image.repository === image.repository
      );
    if (sameRepository !== undefined) return sameRepository;
    const all = this.#byKey.get(image.registry);
    return all !== undefined && this.#counts(all) ? all : undefined;
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#byKey.clear();
  }

  #counts({ validUntilMs = Infinity }: PutCredential): boolean {
    return validUntilMs > this.#options.clock.wallMs();
  }

  async #end(key: string, put: PutCredential, untilMs: number): Promise<void> {
    const { clock, changed } = this.#options;
    try {
      while (this.#byKey.get(key) === put && this.#counts(put)) {
        const restMs = Math.min(untilMs - clock.wallMs(), RECHECK_AFTER_MS);
        await clock.sleep(restMs, { signal: this.#stop.signal });
      }
    } catch {
      return; // the agent stops
    }
    if (this.#byKey.get(key) !== put) return;
    this.#byKey.delete(key);
    changed?.(put.target);
  }
}

/** They never collide: an image's text has a slash, and a registry none. */
function keyOf(target: PutTarget): string {
  return target.kind === "image" ? target.image.text : target.registry;
}
