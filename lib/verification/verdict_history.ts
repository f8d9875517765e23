import {
  type Candidate,
  credentialFingerprint,
  type ProbeTarget,
  type ProbeVerdict,
  type VerdictKind,
} from "../model/mod.ts";

/** What was heard of a credential, or of the source that mints it. */
interface Heard {
  readonly verdict?: VerdictKind;
  readonly words?: string;
  readonly verdictAtMs?: number;
  readonly refusedAtMs?: number;
  /** The registry refused it, even if it may be asked again. */
  readonly byRegistry?: boolean;
  /** Refusals by reads in a row of credentials of one source. */
  readonly strikes?: number;
}

/** What is known of one candidate at one repository. */
export interface Known {
  readonly verdict?: VerdictKind;
  /** What the verdict was given with. */
  readonly words?: string;
  readonly refusedAtMs?: number;
  /** The registry refused this very credential, when it was last asked. */
  readonly refusedByRegistry?: boolean;
}

const MAX_RECORDS = 20_000;
/** Reads that are refused this soon after the registry said yes speak against it. */
const CONTRADICTION_MS = 10 * 60_000;
/** A source whose credentials reads have refused this often in a row is refused itself. */
const MAX_STRIKES = 2;

/**
 * What registries and reads have said, by host, repository and credential. A credential that people
 * set is known by itself. One that is minted is another each time: the registry's word on it counts
 * for its source, so that a renewal is no change worth asking about.
 */
export class VerdictHistory {
  readonly #records = new Map<string, Heard>();

  /** @param perToken Whether minted ones too are known by themselves. */
  known(target: ProbeTarget, candidate: Candidate, perToken: boolean): Known {
    const word = this.#get(stateKey(target, candidate, perToken));
    const { verdict, words, refusedAtMs } = word;
    const reads = this.#get(tokenKey(target, candidate)).refusedAtMs;
    const source = this.#get(sourceKey(target, candidate));
    const struck = (source.strikes ?? 0) >= MAX_STRIKES ? source.refusedAtMs : undefined;
    const isGood = verdict === "accepted" || verdict === "anonymous";
    const last = isGood ? undefined : refusedAtMs ?? reads ?? struck;
    return {
      ...(verdict !== undefined && { verdict }),
      ...(words !== undefined && { words }),
      ...(last !== undefined && { refusedAtMs: last }),
      // The word on a source says little about the next credential that it mints.
      ...(word.byRegistry && isKnownByItself(candidate, perToken) && { refusedByRegistry: true }),
    };
  }

  /** The registry has spoken. */
  heard(
    target: ProbeTarget,
    candidate: Candidate,
    { kind: verdict, detail }: ProbeVerdict,
    nowMs: number,
    perToken: boolean,
  ): void {
    const refused = verdict === "refused" || verdict === "forbidden";
    this.#set(stateKey(target, candidate, perToken), {
      verdict,
      words: detail,
      verdictAtMs: nowMs,
      ...(refused && { refusedAtMs: nowMs, byRegistry: true }),
    });
    if (verdict === "accepted" || verdict === "anonymous") {
      this.#records.delete(sourceKey(target, candidate));
    }
  }

  /**
   * Reads with a candidate are refused. A word of the registry from before counts no more, so that
   * it may be asked once more; a fresh yes is not asked for again, the reads are believed.
   */
  readsRefused(target: ProbeTarget, candidate: Candidate, nowMs: number, perToken: boolean): void {
    const key = stateKey(target, candidate, perToken);
    const { verdictAtMs } = this.#get(key);
    const fresh = verdictAtMs !== undefined && nowMs - verdictAtMs < CONTRADICTION_MS;
    if (fresh) {
      const words = "reads with it are refused";
      this.#set(key, { verdict: "refused", words, verdictAtMs, refusedAtMs: nowMs });
    } else this.#records.delete(key);
    const token = tokenKey(target, candidate);
    this.#set(token, { ...this.#get(token), refusedAtMs: nowMs });
    const source = sourceKey(target, candidate);
    const { strikes = 0, refusedAtMs = -Infinity } = this.#get(source);
    const inARow = nowMs - refusedAtMs < CONTRADICTION_MS;
    this.#set(source, { strikes: inARow ? strikes + 1 : 1, refusedAtMs: nowMs });
  }

  /** What the registry refused before may be asked about again: a doubt is a change. */
  reopen(target: ProbeTarget, candidate: Candidate, perToken: boolean): void {
    const key = stateKey(target, candidate, perToken);
    const { refusedAtMs, verdict, byRegistry = false } = this.#get(key);
    if (verdict === undefined || refusedAtMs === undefined) return;
    // When it was refused is kept: it ranks behind those that never were.
    this.#set(key, { refusedAtMs, byRegistry });
  }

  /** Its reads succeed: what was held against it is over. */
  readsSucceed(target: ProbeTarget, candidate: Candidate, perToken: boolean): void {
    const key = stateKey(target, candidate, perToken);
    if (this.#get(key).refusedAtMs !== undefined) this.#records.delete(key);
    this.#records.delete(tokenKey(target, candidate));
    this.#records.delete(sourceKey(target, candidate));
  }

  #get(key: string): Heard {
    return this.#records.get(key) ?? {};
  }

  #set(key: string, record: Heard): void {
    this.#records.delete(key); // and behind the others again
    this.#records.set(key, record);
    const [oldest] = this.#records.keys();
    if (this.#records.size > MAX_RECORDS && oldest !== undefined) this.#records.delete(oldest);
  }
}

function place({ scheme, host, repository }: ProbeTarget): string {
  return `${scheme}://${host}/${repository}`;
}

function tokenKey(target: ProbeTarget, { credential }: Candidate): string {
  return `token ${place(target)} ${credentialFingerprint(credential)}`;
}

function sourceKey(target: ProbeTarget, candidate: Candidate): string {
  const { origin, pattern = "", plugin = "", account = "", watched, credential } = candidate;
  const own = watched ? credentialFingerprint(credential) : "";
  return `source ${place(target)} ${JSON.stringify([origin, pattern, plugin, account, own])}`;
}

function stateKey(target: ProbeTarget, candidate: Candidate, perToken: boolean): string {
  const own = isKnownByItself(candidate, perToken);
  return `word ${own ? tokenKey(target, candidate) : sourceKey(target, candidate)}`;
}

function isKnownByItself({ watched }: Candidate, perToken: boolean): boolean {
  return perToken || watched;
}
