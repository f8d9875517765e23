import {
  type Candidate,
  type Clock,
  type Credential,
  credentialFromPair,
  type CredentialProvider,
  type CredentialRequest,
  defined,
  type ImageReference,
  type ProviderName,
  type ProviderOutcome,
  setNewest,
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
  /** Called after each change, but not when a credential expires. Must not throw. */
  readonly changed?: (target: PushTarget) => void;
}

const MAX_CREDENTIALS = 1_000;

/**
 * Stores the credentials that other programs on the node push into the agent, in memory only. At
 * the limit, the oldest one is evicted.
 */
export class PushedCredentials {
  readonly #options: PushedCredentialsOptions;
  readonly #byKey = new Map<string, PushedCredential>();

  constructor(options: PushedCredentialsOptions) {
    this.#options = options;
  }

  /** Removes the expired credentials, and returns the valid ones, the newest last. */
  list(): readonly PushedCredential[] {
    const nowMs = this.#options.clock.wallMs();
    for (const [key, { validUntilMs = Infinity }] of this.#byKey) {
      if (validUntilMs <= nowMs) this.#byKey.delete(key);
    }
    return [...this.#byKey.values()];
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
    setNewest(this.#byKey, keyOf(target), pushed, MAX_CREDENTIALS);
    this.#options.changed?.(target);
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
    const pushed = this.list();
    // A mount may know only the repository of its image: then any tag's credential applies.
    const isRepository = image.tag === undefined && image.digest === undefined;
    const forImage = pushed.findLast(({ target }) =>
      target.kind === "image" && (target.image.text === image.text ||
        isRepository && target.image.registry === image.registry &&
          target.image.repository === image.repository)
    );
    return forImage ??
      pushed.find(({ target }) => target.kind === "registry" && target.registry === image.registry);
  }
}

/** Keys of images and registries cannot collide: only an image reference contains a slash. */
function keyOf(target: PushTarget): string {
  return target.kind === "image" ? target.image.text : target.registry;
}

const USERNAME_LABEL = "containerd.io/snapshot/pullusername";
const SECRET_LABEL = "containerd.io/snapshot/pullsecret";

/** Returns the credential in a snapshot's pull labels, or the reason why there is none. */
export function labelsCredential(
  labels: Readonly<Record<string, string>>,
): Credential | "no-labels" | "incomplete-labels" {
  const username = labels[USERNAME_LABEL] ?? "";
  const secret = labels[SECRET_LABEL] ?? "";
  if (username === "" && secret === "") return "no-labels";
  if (username === "") return "incomplete-labels";
  return credentialFromPair(username, secret) ?? "incomplete-labels";
}

/**
 * Provides the credential in the snapshot's pull labels, which are known only during the pull, and
 * after them the credential that was pushed for the image. Renewable only while one is pushed.
 */
export function labelsProvider(
  clock: Clock,
  pushed?: Pick<PushedCredentials, "lookup" | "list">,
): CredentialProvider {
  return {
    name: "labels",
    get renewable() {
      return pushed !== undefined && pushed.list().length > 0;
    },
    provide: provides(({ image, labels }) => {
      const credential = labelsCredential(labels);
      if (typeof credential !== "string") {
        return found(credential, "the pull labels", clock.wallMs());
      }
      const match = credential === "no-labels" ? pushed?.lookup(image) : undefined;
      if (match === undefined) return { kind: "none", reason: credential, notes: [] };
      const expiry = defined({ expiresAtMs: match.validUntilMs });
      return found(match.credential, "the local API", match.putAtMs, { watched: true, ...expiry });
    }),
  };
}

/** A credential of an observed pull. */
interface ObservedPull {
  readonly credential: Credential;
  readonly seenAtMs: number;
}

/** Credentials of observed pulls, by normalized image reference. */
export interface CriPulls {
  lookup(image: ImageReference): ObservedPull | undefined;
  /** Returns the credential of a pull that succeeded since the agent started. */
  confirmed?(image: ImageReference): ObservedPull | undefined;
  /** Returns the pods for which an image was pulled recently. */
  pods?(image: ImageReference): readonly { readonly uid: string }[];
}

/** Provides what the CRI proxy observed in `PullImage` requests. Without a proxy: `not-enabled`. */
export function criProvider(pulls: CriPulls | undefined): CredentialProvider {
  return {
    name: "cri",
    renewable: false,
    provide: provides(({ image }) => {
      if (pulls === undefined) return { kind: "none", reason: "not-enabled", notes: [] };
      return foundInPull(pulls.lookup(image));
    }),
  };
}

/**
 * Provides the credential of the last successful CRI pull, for mounts whose image has no credential
 * from any other source. An unconfirmed credential must not replace the one configured in nydusd.
 * The credential cannot be fetched again, but the next pull may bring another one.
 */
export function confirmedPullProvider(pulls: CriPulls): CredentialProvider {
  return {
    name: "cri",
    renewable: true,
    provide: provides(({ image }) => foundInPull(pulls.confirmed?.(image), { watched: true })),
  };
}

/** Takes the place of a provider that the configuration does not enable. */
export function disabledProvider(name: ProviderName, renewable: boolean): CredentialProvider {
  return {
    name,
    renewable,
    provide: provides(() => ({ kind: "none", reason: "not-enabled", notes: [] })),
  };
}

/** Adapts a synchronous lookup to the provider interface. */
function provides(
  lookup: (request: CredentialRequest) => ProviderOutcome,
): CredentialProvider["provide"] {
  return (request) => Promise.resolve(lookup(request));
}

function foundInPull(
  pull: ObservedPull | undefined,
  more: Partial<Candidate> = {},
): ProviderOutcome {
  return pull === undefined
    ? { kind: "none", reason: "no-pull-observed", notes: [] }
    : found(pull.credential, "a pull over CRI", pull.seenAtMs, more);
}

function found(
  credential: Credential,
  origin: string,
  fetchedAtMs: number,
  more: Partial<Candidate> = {},
): ProviderOutcome {
  const { expiresAtMs } = tokenExpiryOf(credential, fetchedAtMs);
  return {
    kind: "found",
    reason: "found",
    notes: [],
    candidates: [{
      credential,
      origin,
      fetchedAtMs,
      watched: false,
      ...defined({ expiresAtMs }),
      ...more,
    }],
  };
}
