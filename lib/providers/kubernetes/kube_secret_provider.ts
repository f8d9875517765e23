import {
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  type CredentialProvider,
  type CredentialRequest,
  type ImageTarget,
  type ProviderNote,
  type ProviderOutcome,
  tokenExpiryOf,
} from "../../model/mod.ts";
import { abortable } from "../../model/mod.ts";
import { targetOf } from "../../model/mod.ts";
import type { KubeProblem } from "./kube_sources.ts";
import { type KeyringMatch, SecretKeyring } from "../docker/mod.ts";
import type { HeldSecret, SecretSource } from "./secret_sources.ts";

/** What the provider asks. */
export interface KubeSecretProviderOptions {
  /** Made with what is to be called when its secrets change. */
  readonly source: (changed: () => void) => SecretSource;
  readonly clock: Clock;
  /** Other credentials may be found now. */
  readonly changed: () => void;
}

/** How long the first question waits for what the API server says. */
const FIRST_ANSWER_MS = 10_000;
/** A doubted secret is got anew no more often than this. */
const REFRESH_GAP_MS = 5_000;
/** Changes that come together are told together. */
const REPORT_AFTER_MS = 50;
const MAX_NOTES = 20;
/**
 * Limits on the candidates for one image, so that one tenant's secrets cannot crowd out another's.
 * All namespaces together stay below what candidate selection compares, so that other providers
 * have a place as well.
 */
const MAX_PER_SECRET = 16;
const MAX_PER_NAMESPACE = 64;
const MAX_CANDIDATES = 192;

/** Pull secrets of the Kubernetes API, the most specific key first. */
export class KubeSecretProvider implements CredentialProvider {
  readonly name = "kubesecret";
  readonly renewable = true;
  readonly #options: KubeSecretProviderOptions;
  readonly #source: SecretSource;
  readonly #startedMs: number;
  readonly #stop = new AbortController();
  readonly #refreshedMs = new Map<string, number>();
  #keyring: SecretKeyring<HeldSecret> | undefined;
  #telling = false;

  constructor(options: KubeSecretProviderOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
    this.#source = options.source(() => this.#changed());
  }

  async provide(
    request: CredentialRequest,
    { signal }: CallOptions = {},
  ): Promise<ProviderOutcome> {
    return await abortable(this.#provide(request), signal);
  }

  /** What of the API server is not followed now, though it should be. */
  stale(): readonly KubeProblem[] {
    return this.#source.problems().filter(({ stale }) => stale);
  }

  /** Ends every call under way. */
  stop(): void {
    this.#stop.abort();
    this.#source.stop();
  }

  async #provide(request: CredentialRequest): Promise<ProviderOutcome> {
    await this.#firstAnswer();
    const target = targetOf(request);
    await this.#refreshDoubted(request, target);
    const keyring = this.#keyring ??= new SecretKeyring(this.#source.secrets());
    const matches = target === undefined ? [] : keyring.find(target);
    const notes: ProviderNote[] = [];
    const found = distinct(matches.flatMap((match) => this.#candidates(match, notes)));
    const candidates = withinLimits(found, request.inUse).map(({ candidate }) => candidate);
    const omitted = found.length - candidates.length;
    if (omitted > 0) {
      const detail =
        `${omitted} more credentials match, beyond the limits per secret and namespace`;
      notes.unshift({ subject: "secrets", reason: "found", detail });
    }
    const problems = this.#source.problems();
    notes.push(...problems.map(noteOf), ...this.#broken(keyring));
    const bounded = notes.slice(0, MAX_NOTES);
    const [first, ...rest] = candidates;
    if (first !== undefined) {
      return { kind: "found", reason: "found", candidates: [first, ...rest], notes: bounded };
    }
    const unknown = problems.find((problem) => problem.unknown);
    if (unknown !== undefined) return failed(unknown, bounded);
    const [match] = matches;
    const reason = match === undefined ? "no-secret-matched" : "anonymous-entry";
    return { kind: "none", reason, notes: bounded };
  }

  /** Until every secret was read or could not be, but not for ever, and only once. */
  async #firstAnswer(): Promise<void> {
    const { clock } = this.#options;
    const restMs = this.#startedMs + FIRST_ANSWER_MS - clock.monotonicMs();
    if (restMs <= 0) return;
    const done = new AbortController();
    const sleep = clock.sleep(restMs, { signal: done.signal }).catch(() => {});
    await Promise.race([this.#source.attempted(), sleep]);
    done.abort();
  }

  /** Someone wants newer than what we have: the watch may be late, or dead. */
  async #refreshDoubted(
    { newerThanMs }: CredentialRequest,
    target: ImageTarget | undefined,
  ): Promise<void> {
    if (newerThanMs === undefined || target === undefined) return;
    const nowMs = this.#options.clock.monotonicMs();
    const matches = (this.#keyring ??= new SecretKeyring(this.#source.secrets())).find(target);
    const keys = new Set(matches.map(({ secret }) => `${secret.namespace}/${secret.name}`));
    const stale = [...keys].filter((key) =>
      nowMs - (this.#refreshedMs.get(key) ?? -Infinity) >= REFRESH_GAP_MS
    );
    if (this.#refreshedMs.size > 1_000) this.#refreshedMs.clear();
    for (const key of stale) this.#refreshedMs.set(key, nowMs);
    await this.#source.refresh(stale);
  }

  #candidates(
    { secret, entry }: KeyringMatch<HeldSecret>,
    notes: ProviderNote[],
  ): readonly SecretCandidate[] {
    const { namespace, name, readAtMs } = secret;
    const subject = `secret ${namespace}/${name}`;
    if (entry.credentials.length === 0) {
      notes.push({ subject, reason: "anonymous-entry", detail: `entry ${entry.key}` });
    }
    return entry.credentials.map((credential) => {
      const { expiresAtMs, warning } = tokenExpiryOf(credential, readAtMs);
      if (warning !== undefined) notes.push({ subject, reason: "found", detail: warning });
      const candidate = {
        credential,
        origin: `${subject}, entry ${entry.key}`,
        pattern: entry.key,
        fetchedAtMs: readAtMs,
        watched: true,
        ...(expiresAtMs !== undefined && { expiresAtMs: expiresAtMs }),
      };
      return { namespace, name, candidate };
    });
  }

  #broken(keyring: SecretKeyring<HeldSecret>): ProviderNote[] {
    const notes: ProviderNote[] = [];
    const reason = "invalid-entry";
    for (const { namespace, name, problems } of this.#source.secrets()) {
      const subject = `secret ${namespace}/${name}`;
      for (const detail of problems) notes.push({ subject, reason, detail });
      if (notes.length > MAX_NOTES) return notes;
    }
    for (const { secret, key } of keyring.unusable) {
      const detail = `the key ${JSON.stringify(key.slice(0, 200))} names no registry`;
      notes.push({ subject: `secret ${secret.namespace}/${secret.name}`, reason, detail });
    }
    return notes;
  }

  #changed(): void {
    this.#keyring = undefined;
    if (this.#telling) return;
    this.#telling = true;
    const { clock, changed } = this.#options;
    clock.sleep(REPORT_AFTER_MS, this.#stop).then(() => {
      this.#telling = false;
      changed();
    }, () => {});
  }
}

function noteOf({ subject, failure, unknown }: KubeProblem): ProviderNote {
  const { reason, detail } = failure;
  const old = unknown || reason === "no-secret-matched" ? "" : "; what was read last is used";
  return { subject, reason, detail: `${detail}${old}` };
}

function failed(
  { subject, failure }: KubeProblem,
  notes: readonly ProviderNote[],
): ProviderOutcome {
  const { reason, detail } = failure;
  if (reason === "no-config-file") return { kind: "none", reason, notes };
  return { kind: "failed", reason, detail: `${subject}: ${detail}`, notes };
}

interface SecretCandidate {
  readonly namespace: string;
  readonly name: string;
  readonly candidate: Candidate;
}

/** Returns each credential once, under its most specific key. */
function distinct(found: readonly SecretCandidate[]): readonly SecretCandidate[] {
  const byFingerprint = new Map<string, SecretCandidate>();
  for (const one of found) {
    const fingerprint = credentialFingerprint(one.candidate.credential);
    if (!byFingerprint.has(fingerprint)) byFingerprint.set(fingerprint, one);
  }
  return [...byFingerprint.values()];
}

/**
 * Returns the candidates within the limits, best first. Each namespace gets an equal share of the
 * total, and the credential in use counts against no limit.
 */
function withinLimits(
  found: readonly SecretCandidate[],
  inUse: string | undefined,
): readonly SecretCandidate[] {
  const counts = new Map<string, number>();
  const next = (key: string): number => {
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return count;
  };
  const ranks = new Map<SecretCandidate, number>();
  for (const one of found) {
    if (credentialFingerprint(one.candidate.credential) === inUse) {
      ranks.set(one, 0);
      continue;
    }
    if (next(`${one.namespace}/${one.name}`) > MAX_PER_SECRET) continue;
    const rank = next(one.namespace);
    if (rank <= MAX_PER_NAMESPACE) ranks.set(one, rank);
  }
  const byRank = [...ranks].sort(([, a], [, b]) => a - b).slice(0, MAX_CANDIDATES);
  const kept = new Set(byRank.map(([one]) => one));
  return found.filter((one) => kept.has(one));
}
