import {
  type Clock,
  type Credential,
  credentialFromPair,
  type CredentialProvider,
  type CredentialRequest,
  type ImageReference,
  type ProviderName,
  type ProviderOutcome,
  tokenExpiryOf,
} from "../model/mod.ts";
import type { PutCredentials } from "./pushed_credentials.ts";

const USERNAME_LABEL = "containerd.io/snapshot/pullusername";
const SECRET_LABEL = "containerd.io/snapshot/pullsecret";

/** The credential in a snapshot's pull labels, or why there is none. */
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
 * Pull labels of the snapshot, which are known when an image is pulled and never again; and, after
 * them, what was put into the agent. While something is, it can be asked again.
 */
export function labelsProvider(
  clock: Clock,
  puts?: Pick<PutCredentials, "lookup" | "size">,
): CredentialProvider {
  return {
    name: "labels",
    get renewable() {
      return puts !== undefined && puts.size > 0;
    },
    provide: provides(({ image, labels }) => {
      const credential = labelsCredential(labels);
      if (typeof credential !== "string") {
        return found(credential, "the pull labels", clock.wallMs());
      }
      const put = credential === "no-labels" ? puts?.lookup(image) : undefined;
      if (put === undefined) return { kind: "none", reason: credential, notes: [] };
      const outcome = found(put.credential, "the local API", put.putAtMs);
      const { validUntilMs } = put;
      const [candidate] = outcome.candidates;
      return {
        ...outcome,
        candidates: [{
          ...candidate,
          watched: true,
          ...(validUntilMs !== undefined && { expiresAtMs: validUntilMs }),
        }],
      };
    }),
  };
}

/** Credentials that were seen in pulls, by normalized reference. */
export interface CriPulls {
  lookup(
    image: ImageReference,
  ): { readonly credential: Credential; readonly seenAtMs: number } | undefined;
  /** Of pulls that succeeded, while this agent ran. */
  confirmed?(
    image: ImageReference,
  ): { readonly credential: Credential; readonly seenAtMs: number } | undefined;
  /** The pods for which an image was pulled lately. */
  pods?(image: ImageReference): readonly { readonly uid: string }[];
}

/** What the CRI proxy saw in `PullImage` requests; without a CRI proxy it is not enabled. */
export function criProvider(pulls: CriPulls | undefined): CredentialProvider {
  return {
    name: "cri",
    renewable: false,
    provide: provides(({ image }) => {
      if (pulls === undefined) return { kind: "none", reason: "not-enabled", notes: [] };
      const seen = pulls.lookup(image);
      return seen === undefined
        ? { kind: "none", reason: "no-pull-observed", notes: [] }
        : found(seen.credential, "a pull over CRI", seen.seenAtMs);
    }),
  };
}

/**
 * What pulls over CRI brought, for mounts whose image no other source has a credential for. Only
 * pulls that succeeded count: what nobody has proven must not take the place of what a mount holds.
 * There is nothing to ask again, but the next pull may bring another.
 */
export function pulledProvider(pulls: CriPulls): CredentialProvider {
  return {
    name: "cri",
    renewable: true,
    provide: provides(({ image }) => {
      const seen = pulls.confirmed?.(image);
      if (seen === undefined) return { kind: "none", reason: "no-pull-observed", notes: [] };
      const outcome = found(seen.credential, "a pull over CRI", seen.seenAtMs);
      const [candidate] = outcome.candidates;
      return { ...outcome, candidates: [{ ...candidate, watched: true }] };
    }),
  };
}

/** Stands in the chain's order for a provider that the configuration leaves out. */
export function disabledProvider(name: ProviderName, renewable: boolean): CredentialProvider {
  return {
    name,
    renewable,
    provide: provides(() => ({ kind: "none", reason: "not-enabled", notes: [] })),
  };
}

/** For providers that have their answer at once. */
function provides(
  answer: (request: CredentialRequest) => ProviderOutcome,
): CredentialProvider["provide"] {
  return (request) => Promise.resolve(answer(request));
}

function found(credential: Credential, origin: string, fetchedAtMs: number) {
  const { expiresAtMs } = tokenExpiryOf(credential, fetchedAtMs);
  return {
    kind: "found" as const,
    reason: "found" as const,
    notes: [],
    candidates: [{
      credential,
      origin,
      fetchedAtMs,
      watched: false,
      ...(expiresAtMs !== undefined && { expiresAtMs: expiresAtMs }),
    }] as const,
  };
}
