import {
  type CallOptions,
  credentialFingerprint,
  type CredentialRequest,
  type CredentialSubject,
  defined,
  type Observer,
  type ProbeTarget,
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
import type { Renewal, StoreEntry } from "../credentials/mod.ts";
import type { RenewalContext } from "./context.ts";
import { candidateInNydusd, decodeCurrentAuth, type Mount } from "./mounts.ts";

/** What to do with a resolution: use a new credential, or keep the current one. */
export type Decision =
  | { readonly kind: "use" } & Renewal
  | { readonly kind: "keep"; readonly detail: string };

/** How to request candidates for an entry. */
interface DecisionOptions extends CallOptions {
  /**
   * Requests the first provider that has a credential, or all of them.
   *
   * @param change What differs from the first request.
   */
  readonly resolve: (all: boolean, change?: Partial<CredentialRequest>) => Promise<Resolution>;
  /** Reads with the current credential fail. */
  readonly readsRefused: boolean;
}

/**
 * Requests the candidates of an entry and decides which one becomes its credential. Without a
 * decision no provider has a credential.
 */
export async function resolveEntry(
  context: RenewalContext,
  entry: StoreEntry,
  options: DecisionOptions,
): Promise<{ readonly resolution: Resolution; readonly decision?: Decision }> {
  const { readsRefused, resolve } = options;
  const requestedAtMs = context.clock.wallMs();
  const resolution = await resolve(readsRefused);
  const { winner } = resolution;
  if (winner === undefined) return { resolution };
  const { provider, candidates: [candidate] } = winner;
  const first = { kind: "use", provider, candidate } as const;
  const mounts = context.mounts.of(subjectKey(entry.image));
  const inUse = candidateInUse(context, entry);
  const offered = candidatesOf(resolution);
  if (includesUnapprovedHost(mounts, offered)) {
    // A probe would send the credential to that host. Without it, keep the credential in use for
    // as long as a provider offers it.
    const used = inUse && offered.find((one) => isSameCredential(one, inUse));
    const mayKeep = used !== undefined && used.provider !== "adopted" && !readsRefused;
    const decision = mayKeep
      ? { kind: "use" as const, provider: used.provider, candidate: used.candidate }
      : first;
    return { resolution, decision };
  }
  const target = probeTargetOf(entry.image, mounts);
  const request = defined({ image: entry.image, target, readsRefused, offered, inUse });
  const selection = await select(context.selector, request, requestedAtMs, options);
  return { resolution, decision: decisionOf(entry, selection, context.observer) };
}

/** Returns the credential in use: the stored one, else the one in the nydusd of a mount. */
export function candidateInUse(
  { mounts, clock }: Pick<RenewalContext, "mounts" | "clock">,
  { image, stored }: StoreEntry,
): SelectionRequest["inUse"] {
  const records = mounts.of(subjectKey(image))
    .filter(({ daemon }) => daemon.state === "running")
    .map(({ record }) => record);
  const proven = records.some(({ state, provenReads }) =>
    (state === "stored" || state === "adopted") && provenReads !== undefined
  );
  if (stored !== undefined) {
    return { provider: stored.provider, candidate: stored.candidate, proven };
  }
  const credential = records.map(({ currentAuth }) => decodeCurrentAuth(currentAuth))
    .find((one) => one !== undefined);
  if (credential === undefined) return undefined;
  const candidate = candidateInNydusd(credential, "nydusd", clock.wallMs());
  return { provider: "adopted", candidate, proven };
}

/**
 * When all candidates are refused, requests all providers, then newer than cached credentials.
 *
 * @param requestedAtMs Candidates fetched earlier come from a cache.
 */
async function select(
  selector: RenewalContext["selector"],
  request: SelectionRequest,
  requestedAtMs: number,
  { resolve, readsRefused, signal }: DecisionOptions,
): Promise<Selection> {
  const options = defined({ signal });
  const retry = { ...request, readsRefused: false };
  let { offered } = request;
  let selection = await selector.select(request, options);
  if (selection.exhausted && !readsRefused) {
    const all = candidatesOf(await resolve(true, { allAccounts: true }));
    if (all.length > 0) {
      offered = all;
      selection = await selector.select({ ...retry, offered }, options);
    }
  }
  const cached = offered.map(({ candidate }) => candidate)
    .find(({ watched, fetchedAtMs }) => !watched && fetchedAtMs < requestedAtMs);
  if (!selection.exhausted || cached === undefined) return selection;
  const refused = { fingerprint: credentialFingerprint(cached.credential) };
  const change = { newerThanMs: cached.fetchedAtMs, urgent: true, refused };
  const newer = candidatesOf(await resolve(true, change));
  const fetched = newer.filter((one) => !offered.some((other) => isSameCredential(one, other)));
  if (fetched.length === 0) return selection;
  return await selector.select({ ...retry, offered: newer, fetched }, options);
}

function decisionOf(
  { image, stored }: StoreEntry,
  { kind, winner: { provider, candidate }, otherCandidates, detail, reason }: Selection,
  observer: Observer,
): Decision {
  if (kind === "kept" || provider === "adopted") return { kind: "keep", detail };
  const fingerprint = credentialFingerprint(candidate.credential);
  const isObvious = reason === "only" || reason === "first" || reason === "in-use";
  if (!isObvious && fingerprint !== stored?.fingerprint) {
    observer.notify({
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
  const selectionReason = isObvious ? earlierReason : detail;
  return defined({ kind: "use" as const, provider, candidate, selectionReason });
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
function candidatesOf({ attempts }: Resolution): readonly ScoredCandidate[] {
  return attempts.flatMap(({ provider, outcome }) =>
    outcome.kind === "found" ? outcome.candidates.map((candidate) => ({ provider, candidate })) : []
  );
}

/**
 * Returns how to probe a credential of an image: the way the nydusd of its first mount reads
 * (host, CA files, mirror, proxy), or by the image reference where that is unknown. nydusd falls
 * back from a mirror or proxy to the registry unless its configuration disables that.
 */
export function probeTargetOf(
  subject: CredentialSubject,
  mounts: readonly Pick<Mount, "instance">[],
): ProbeTarget {
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
