import {
  type CallOptions,
  type Clock,
  type Daemon,
  type Observer,
  subjectKey,
  subjectOf,
} from "../model/mod.ts";
import type { CredentialStore } from "../store/mod.ts";
import type { Deliveries } from "./deliveries.ts";
import { type ReadCounter, type ReadFinding, ReadWatch } from "./read_watch.ts";
import { Refusals } from "./refusals.ts";
import type { Renewals } from "./renewals.ts";

/** What the guard works with. */
export interface ReadGuardOptions {
  readonly clock: Clock;
  readonly observer: Observer;
  readonly store: CredentialStore;
  readonly deliveries: Deliveries;
  readonly renewals: Renewals;
  readonly daemons: () => readonly Daemon[];
  /** Undefined: nobody watches. */
  readonly counter: () => ReadCounter | undefined;
  /** Looks soon. */
  readonly lookSoon: () => void;
}

/** How often reads are counted: well within the ten seconds in which a refusal is to be mended. */
const COUNT_EVERY_MS = 3_000;

/** Closes the loop from the consumer back to the source: what is refused renews itself. */
export class ReadGuard {
  readonly #options: ReadGuardOptions;
  readonly #watch = new ReadWatch();
  readonly #refusals = new Refusals();

  constructor(options: ReadGuardOptions) {
    this.#options = options;
  }

  /** Runs until aborted; rejects with the signal's reason. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(COUNT_EVERY_MS, { signal });
      await this.#turn({ signal });
    }
  }

  async #turn(options: CallOptions): Promise<void> {
    const { clock, counter, daemons, store, deliveries } = this.#options;
    const source = counter();
    if (source === undefined) return;
    const findings = await this.#watch.turn(daemons(), source, clock.wallMs(), options);
    this.#refusals.keepOnly({ has: (key) => store.get(key) !== undefined });
    const doubted = new Set<string>();
    let failed = false;
    for (const finding of findings) {
      const key = keyOf(finding);
      const doubtful = deliveries.judge(finding);
      failed ||= finding.verdict === "failed";
      if (key === undefined) continue;
      if (doubtful) doubted.add(key);
      else if (finding.verdict === "succeeded") this.#refusals.forget(key);
    }
    if (failed) this.#options.lookSoon();
    for (const key of doubted) this.#force(key, findings);
  }

  /** Fetches past cache and backoff, if this image's turn has come again. */
  #force(key: string, findings: readonly ReadFinding[]): void {
    const { clock, store, renewals, observer } = this.#options;
    const entry = store.get(key);
    if (entry?.stored === undefined) return;
    if (!this.#refusals.mayForce(key, clock.monotonicMs())) return;
    const mounts = findings.filter((one) => one.verdict === "failed" && keyOf(one) === key).length;
    const { provider } = entry.stored;
    const whose = provider === "adopted" ? "they had before" : `of ${provider}`;
    const text = `reads of ${key} fail in ${mounts} mounts although they hold the credential ` +
      `${whose}: its source is asked for a newer one`;
    observer.notify({ kind: "warning", code: "reads-failing", text });
    renewals.start([entry], { refused: true });
  }
}

function keyOf({ instance }: ReadFinding): string | undefined {
  const subject = subjectOf(instance);
  return subject && subjectKey(subject);
}
