import { type Clock, type FileSystem, messageOf, type Secret } from "../model/mod.ts";

/** Changes within this time are written together. */
const SAVE_AFTER_MS = 200;

/** Dependencies of the file. */
export interface PullCacheFileOptions {
  readonly path: string;
  readonly files: Pick<FileSystem, "writeAtomic">;
  readonly clock: Clock;
  readonly serialize: () => Secret;
  readonly warn: (text: string) => void;
}

/**
 * Keeps the pull credentials over a restart of the agent.
 *
 * Invariants: at most one write runs at a time; after the last change there is a write; nothing is
 * written once {@linkcode PullCacheFile.close} has resolved.
 */
export class PullCacheFile {
  readonly #options: PullCacheFileOptions;
  readonly #closed = new AbortController();
  #isDirty = false;
  #saving: Promise<void> | undefined;

  constructor(options: PullCacheFileOptions) {
    this.#options = options;
  }

  /** Schedules a write. */
  changed(): void {
    if (this.#closed.signal.aborted) return;
    this.#isDirty = true;
    this.#saving ??= this.#save();
  }

  /** Writes what is not written yet, and nothing after that. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#saving;
  }

  async #save(): Promise<void> {
    const { path, files, clock, serialize, warn } = this.#options;
    while (this.#isDirty) {
      const { signal } = this.#closed;
      await clock.sleep(SAVE_AFTER_MS, { signal }).catch(() => {}); // closed: write now
      this.#isDirty = false;
      try {
        await files.writeAtomic(path, serialize().reveal(), { mode: 0o600 });
      } catch (error) {
        warn(`failed to save the pull credentials: ${messageOf(error)}`);
      }
    }
    this.#saving = undefined;
  }
}
