import {
  type CallOptions,
  type Candidate,
  credentialFingerprint,
  type CredentialSubject,
  defined,
  instanceKey,
  type ProbeTarget,
  type ProviderName,
  type Resolution,
  Secret,
  subjectKey,
  unapprovedHosts,
} from "../model/mod.ts";
import {
  defaultProbeTarget,
  type ScoredCandidate,
  type Selection,
  type SelectionRequest,
} from "../verification/mod.ts";
import type { StoreEntry } from "../credentials/mod.ts";
import type { ReconcilerContext, Selector } from "./context.ts";
import { candidateInNydusd, decodeCurrentAuth, type Mount, type Mounts } from "./mounts.ts";

/** What to do with a resolution: use a new credential, or keep the current one. */
export type Decision =
  | {
    readonly kind: "use";
    readonly provider: ProviderName;
    readonly candidates: readonly [Candidate, ...Candidate[]];
    readonly selectionReason?: string;
  }
  | { readonly kind: "keep"; readonly detail: string };

/** How the resolution was requested, and how to request more candidates. */
interface DecisionOptions extends CallOptions {
  /** Reads with the current credential fail. */
  readonly readsRefused: boolean;
  /** Wall time of the request: candidates fetched earlier come from a cache. */
  readonly requestedAtMs: number;
  /** Requests all providers instead of the first that has a credential; undefined if done. */
  readonly resolveAll?: () => Promise<Resolution>;
  /** Requests all providers for a credential newer than a cached one that was refused. */
  readonly resolveNewer?: (than: Candidate) => Promise<Resolution>;
}

type SelectionContext =
  & Pick<ReconcilerContext, "selector" | "observer" | "clock" | "records">
  & { readonly mounts: Pick<Mounts, "of"> };

/** Decides which of the candidates that the chain returned becomes the credential of an image. */
export class Selections {
  readonly #context: SelectionContext;

  constructor(context: SelectionContext) {
    this.#context = context;
  }

  /** Returns undefined when no provider has a credential. */
  async decide(
    entry: StoreEntry,
    resolution: Resolution,
    options: DecisionOptions,
  ): Promise<Decision | undefined> {
    const { winner } = resolution;
    if (winner === undefined) return undefined;
    const { selector } = this.#context;
    if (selector === undefined) return { kind: "use", ...winner };
    const mounts = this.#context.mounts.of(subjectKey(entry.image));
    const inUse = this.inUse(entry);
    const offered = candidatesOf(resolution);
    if (includesUnapprovedHost(mounts, offered)) {
      // A probe would send the credential to that host. Without it, keep the credential in use for
      // as long as a provider offers it.
      const used = inUse && offered.find((one) => isSameCredential(one, inUse));
      if (used === undefined || used.provider === "adopted" || options.readsRefused) {
        return { kind: "use", ...winner };
      }
      return { kind: "use", provider: used.provider, candidates: [used.candidate] };
    }
    const request = defined({
      image: entry.image,
      target: probeTargetOf(entry.image, mounts),
      readsRefused: options.readsRefused,
      offered,
      inUse,
    });
    return this.#decisionOf(entry, await selectFrom(selector, request, options));
  }

  /** Returns the credential in use: the stored one, else the one in the nydusd of a mount. */
  inUse({ image, stored }: StoreEntry): SelectionRequest["inUse"] {
    const { mounts, records, clock } = this.#context;
    const running = mounts.of(subjectKey(image))
      .filter(({ daemon }) => daemon.state === "running")
      .map(({ daemon, instance }) => records.get(instanceKey(daemon.id, instance.snapshotId)));
    const proven = running.some(({ state, proven }) =>
      (state === "stored" || state === "adopted") && proven === true
    );
    if (stored !== undefined) {
      return { provider: stored.provider, candidate: stored.candidate, proven };
    }
    const credential = running.map(({ currentAuth }) => decodeCurrentAuth(currentAuth))
      .find((one) => one !== undefined);
    if (credential === undefined) return undefined;
    const candidate = candidateInNydusd(credential, "nydusd", clock.wallMs());
    return { provider: "adopted", candidate, proven };
  }

  #decisionOf({ image, stored }: StoreEntry, selection: Selection): Decision {
    const { kind, winner: { provider, candidate }, otherCandidates, detail, reason } = selection;
    if (kind === "kept" || provider === "adopted") return { kind: "keep", detail };
    const fingerprint = credentialFingerprint(candidate.credential);
    const isObvious = reason === "only" || reason === "first" || reason === "in-use";
    if (!isObvious && fingerprint !== stored?.fingerprint) {
      this.#context.observer.notify({
        kind: "candidate-selected",
        image: image.text,
        provider,
        origin: candidate.origin,
        fingerprint,
        reason,
        detail,
        otherCandidates: otherCandidates.length,
      });
    }
    const earlierReason = reason === "in-use" ? stored?.selectionReason : undefined;
    return defined({
      kind: "use" as const,
      provider,
      candidates: [candidate, ...otherCandidates.map((other) => other.candidate)] as const,
      selectionReason: isObvious ? earlierReason : detail,
    });
  }
}

/** When all candidates are refused, requests all providers, then newer than cached credentials. */
async function selectFrom(
  selector: Selector,
  request: SelectionRequest,
  { resolveAll, resolveNewer, requestedAtMs, signal }: DecisionOptions,
): Promise<Selection> {
  const options = defined({ signal });
  const retry = { ...request, readsRefused: false };
  let { offered } = request;
  let selection = await selector.select(request, options);
  if (selection.exhausted && resolveAll !== undefined) {
    const all = candidatesOf(await resolveAll());
    if (all.length > 0) {
      offered = all;
      selection = await selector.select({ ...retry, offered }, options);
    }
  }
  const cached = offered.map(({ candidate }) => candidate)
    .find(({ watched, fetchedAtMs }) => !watched && fetchedAtMs < requestedAtMs);
  if (!selection.exhausted || cached === undefined || resolveNewer === undefined) return selection;
  const newer = candidatesOf(await resolveNewer(cached));
  const fetched = newer.filter((one) => !offered.some((other) => isSameCredential(one, other)));
  if (fetched.length === 0) return selection;
  return await selector.select({ ...retry, offered: newer, fetched }, options);
}

function isSameCredential(
  { candidate: a }: ScoredCandidate,
  { candidate: b }: ScoredCandidate,
): boolean {
  return credentialFingerprint(a.credential) === credentialFingerprint(b.credential);
}

/** Whether the mounts would send one of the candidates to an unapproved host. */
function includesUnapprovedHost(
  mounts: readonly Mount[],
  offered: readonly ScoredCandidate[],
): boolean {
  const endpoint = mounts.map(({ instance }) => instance.endpoint).find((one) => one !== undefined);
  return offered.some(({ candidate }) => unapprovedHosts(endpoint, candidate).length > 0);
}

/** Returns the candidates of all providers, in the order of the chain. */
function candidatesOf({ attempts, winner }: Resolution): readonly ScoredCandidate[] {
  const found = attempts.flatMap(({ provider, outcome }) =>
    outcome.kind === "found"
      ? outcome.candidates.map((candidate): ScoredCandidate => ({ provider, candidate }))
      : []
  );
  if (found.length > 0 || winner === undefined) return found;
  return winner.candidates.map((candidate) => ({ provider: winner.provider, candidate }));
}

/**
 * Returns how to probe a credential of an image: the way the nydusd of its first mount reads
 * (host, CA files, mirror, proxy), or by the image reference where that is unknown. nydusd falls
 * back from a mirror or proxy to the registry unless its configuration disables that.
 */
export function probeTargetOf(subject: CredentialSubject, mounts: readonly Mount[]): ProbeTarget {
  const byReference = defaultProbeTarget(subject.endpoint ?? subject);
  const backend = mounts.map(({ instance }) => instance.backend).find((one) => one?.host);
  if (backend?.host === undefined) return byReference;
  const { scheme, host, repo, skipVerify, caFiles, proxy, mirrors: [mirror] } = backend;
  const direct: ProbeTarget = {
    ...byReference,
    scheme: scheme === "http" ? "http" : "https",
    host,
    repository: repo ?? byReference.repository,
    skipVerify,
    caFiles,
  };
  const mirrorUrl = mirror === undefined ? undefined : URL.parse(mirror);
  if (mirrorUrl) {
    const { protocol, host } = mirrorUrl;
    return { ...direct, scheme: protocol === "http:" ? "http" : "https", host, fallback: direct };
  }
  if (proxy === undefined) return direct;
  return defined({
    ...direct,
    scheme: proxy.useHttp ? "http" : direct.scheme,
    proxyUrl: new Secret(proxy.url),
    fallback: proxy.fallback ? direct : undefined,
  });
}
