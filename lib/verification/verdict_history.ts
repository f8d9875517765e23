import {
  type Candidate,
  credentialFingerprint,
  defined,
  type ProbeTarget,
  type ProbeVerdict,
  setNewest,
} from "../model/mod.ts";
import type { SelectionOption } from "./selection_rules.ts";

/** The repository of a verdict, and how far the verdict applies. */
export interface VerdictScope {
  readonly target: ProbeTarget;
  /** Keeps verdicts per credential, even for credentials that a plugin or helper issues. */
  readonly perToken: boolean;
}

/** The verdict on a candidate at one repository. */
export interface CandidateVerdict
  extends Pick<SelectionOption, "verdict" | "refusedAtMs" | "refusedByRegistry"> {
  /** Explains the verdict. */
  readonly detail?: string;
}

/** What is recorded for a credential, or for the source that issues it. */
interface VerdictRecord extends CandidateVerdict {
  readonly verdictAtMs?: number;
  /** Credentials of the source whose reads were refused, one after another. */
  readonly consecutiveRefusals?: number;
}

const MAX_RECORDS = 20_000;
/** Reads that are refused within this time after a probe override its verdict. */
const OVERRIDE_MS = 10 * 60_000;
/** After this many consecutive refusals by reads, a source itself counts as refused. */
const MAX_CONSECUTIVE_REFUSALS = 2;

/**
 * Remembers the verdicts of registries and of reads, by host, repository and credential. For a
 * credential that a plugin or helper issues, the registry's verdict applies to its source, so that a
 * renewed credential is not probed again.
 */
export class VerdictHistory {
  readonly #records = new Map<string, VerdictRecord>();

  get(scope: VerdictScope, candidate: Candidate): CandidateVerdict {
    const { verdict, detail, refusedAtMs, refusedByRegistry } = this.#get(
      verdictKey(scope, candidate),
    );
    const readsRefusedAtMs = this.#get(tokenKey(scope, candidate)).refusedAtMs;
    const source = this.#get(sourceKey(scope, candidate));
    const sourceRefusedAtMs = (source.consecutiveRefusals ?? 0) >= MAX_CONSECUTIVE_REFUSALS
      ? source.refusedAtMs
      : undefined;
    const isGood = verdict === "accepted" || verdict === "anonymous";
    const isOwnVerdict = appliesToCredential(scope, candidate);
    return defined({
      verdict,
      detail,
      refusedAtMs: isGood ? undefined : refusedAtMs ?? readsRefusedAtMs ?? sourceRefusedAtMs,
      refusedByRegistry: isOwnVerdict ? refusedByRegistry : undefined,
    });
  }

  /** Records the verdict of a probe. */
  recordProbe(
    scope: VerdictScope,
    candidate: Candidate,
    { kind: verdict, detail }: ProbeVerdict,
    nowMs: number,
  ): void {
    const isRefused = verdict === "refused" || verdict === "forbidden";
    this.#set(verdictKey(scope, candidate), {
      verdict,
      detail,
      verdictAtMs: nowMs,
      ...(isRefused && { refusedAtMs: nowMs, refusedByRegistry: true }),
    });
    if (verdict === "accepted" || verdict === "anonymous") {
      this.#records.delete(sourceKey(scope, candidate));
    }
  }

  /**
   * Records that reads with a candidate are refused. They override a recent verdict of the registry.
   * An older verdict is removed, so that the candidate can be probed again.
   */
  recordRefusedReads(scope: VerdictScope, candidate: Candidate, nowMs: number): void {
    const key = verdictKey(scope, candidate);
    const { verdictAtMs } = this.#get(key);
    if (verdictAtMs !== undefined && nowMs - verdictAtMs < OVERRIDE_MS) {
      const detail = "reads with it are refused";
      this.#set(key, { verdict: "refused", detail, verdictAtMs, refusedAtMs: nowMs });
    } else this.#records.delete(key);
    this.#set(tokenKey(scope, candidate), { refusedAtMs: nowMs });
    const source = sourceKey(scope, candidate);
    const { consecutiveRefusals = 0, refusedAtMs = -Infinity } = this.#get(source);
    const isConsecutive = nowMs - refusedAtMs < OVERRIDE_MS;
    this.#set(source, {
      consecutiveRefusals: isConsecutive ? consecutiveRefusals + 1 : 1,
      refusedAtMs: nowMs,
    });
  }

  /** Records that reads with a candidate succeed, which clears its refusals. */
  recordSuccessfulReads(scope: VerdictScope, candidate: Candidate): void {
    const key = verdictKey(scope, candidate);
    if (this.#get(key).refusedAtMs !== undefined) this.#records.delete(key);
    this.#records.delete(tokenKey(scope, candidate));
    this.#records.delete(sourceKey(scope, candidate));
  }

  /**
   * Allows another probe of a refused candidate. The time of the refusal is kept, because it ranks
   * the candidate below those that were never refused.
   */
  allowProbe(scope: VerdictScope, candidate: Candidate): void {
    const key = verdictKey(scope, candidate);
    const { refusedAtMs, verdict, refusedByRegistry = false } = this.#get(key);
    if (verdict === undefined || refusedAtMs === undefined) return;
    this.#set(key, { refusedAtMs, refusedByRegistry });
  }

  #get(key: string): VerdictRecord {
    return this.#records.get(key) ?? {};
  }

  #set(key: string, record: VerdictRecord): void {
    setNewest(this.#records, key, record, MAX_RECORDS);
  }
}

function repositoryOf({ target: { scheme, host, repository } }: VerdictScope): string {
  return `${scheme}://${host}/${repository}`;
}

function tokenKey(scope: VerdictScope, { credential }: Candidate): string {
  return `token ${repositoryOf(scope)} ${credentialFingerprint(credential)}`;
}

function sourceKey(scope: VerdictScope, candidate: Candidate): string {
  const { origin, pattern = "", plugin = "", account = "", watched, credential } = candidate;
  const fingerprint = watched ? credentialFingerprint(credential) : "";
  const source = JSON.stringify([origin, pattern, plugin, account, fingerprint]);
  return `source ${repositoryOf(scope)} ${source}`;
}

function verdictKey(scope: VerdictScope, candidate: Candidate): string {
  const isOwn = appliesToCredential(scope, candidate);
  return `verdict ${isOwn ? tokenKey(scope, candidate) : sourceKey(scope, candidate)}`;
}

/** Whether the verdict applies to the credential itself, and not to its source. */
function appliesToCredential({ perToken }: VerdictScope, { watched }: Candidate): boolean {
  return perToken || watched;
}
