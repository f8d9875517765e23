import {
  AgentError,
  type Clock,
  defined,
  type FileSystem,
  type ReasonCode,
} from "../../model/mod.ts";
import { type DockerConfig, parseDockerConfig } from "./docker_config.ts";

/** Dependencies of {@linkcode DockerFile}. */
export interface DockerFileOptions {
  readonly path: string;
  readonly files: FileSystem;
  readonly clock: Clock;
}

/** A configuration and the wall time at which it was read. */
export interface LoadedConfig {
  readonly config: DockerConfig;
  readonly readAtMs: number;
}

/** State of the file after the last read. */
export interface DockerFileState {
  /** The last valid configuration; undefined if there is none. */
  readonly loaded?: LoadedConfig;
  /** Why the current file cannot be used. */
  readonly problem?: { readonly reason: ReasonCode; readonly detail: string };
}

/**
 * Reads docker's `config.json` when it changes, and keeps the last valid configuration while the
 * file is half-written or unreadable.
 *
 * Invariants:
 * - At most one read is running and one is queued.
 * - A read started after a caller's request serves that caller, so it never gets an older file.
 * - `readAtMs` changes only when the text of the file does.
 */
export class DockerFile {
  readonly #options: DockerFileOptions;
  #state: DockerFileState = {};
  #stamp: string | undefined;
  #text: string | undefined;
  #isSuspect = false;
  #reading: Promise<unknown> = Promise.resolve();
  #next: Promise<DockerFileState> | undefined;

  /** @param before The instance before a reload: its configuration is kept for the same path. */
  constructor(options: DockerFileOptions, before?: DockerFile) {
    this.#options = options;
    if (before === undefined || before.#options.path !== options.path) return;
    this.#state = before.#state;
    this.#text = before.#text;
  }

  /** Returns the current state of the file. Calls during a read share the following one. */
  read(): Promise<DockerFileState> {
    this.#next ??= this.#reading.then(() => {
      this.#next = undefined;
      const reading = this.#read();
      this.#reading = reading;
      return reading;
    });
    return this.#next;
  }

  /** Makes the next read ignore the stamp: two writes in quick succession can have the same one. */
  suspect(): void {
    this.#isSuspect = true;
  }

  async #read(): Promise<DockerFileState> {
    const { path, files, clock } = this.#options;
    const isSuspect = this.#isSuspect;
    this.#isSuspect = false;
    let text: string | undefined;
    try {
      const stat = await files.stat(path);
      if (stat !== undefined && stat.stamp === this.#stamp && !isSuspect) return this.#state;
      text = stat === undefined ? undefined : await files.readText(path);
      this.#stamp = stat?.stamp;
    } catch (error) {
      this.#stamp = undefined;
      return this.#reject("unreadable", error);
    }
    const { loaded } = this.#state;
    if (text === undefined) return this.#accept(text, {});
    // Unchanged text keeps the time at which it was first read.
    if (loaded !== undefined && text === this.#text) return this.#accept(text, { loaded });
    try {
      // Docker writes `{}` for no entries: an empty file is about to be written.
      if (text.trim() === "" && loaded !== undefined) {
        throw new AgentError("invalid-config", "read docker configuration: it is empty");
      }
      const config = parseDockerConfig(text);
      return this.#accept(text, { loaded: { config, readAtMs: clock.wallMs() } });
    } catch (error) {
      return this.#reject("invalid-config", error);
    }
  }

  #accept(text: string | undefined, state: DockerFileState): DockerFileState {
    this.#text = text;
    return this.#state = state;
  }

  #reject(reason: ReasonCode, error: unknown): DockerFileState {
    // Only an AgentError is known to quote no secret.
    const what = error instanceof AgentError ? error.message : "it cannot be read";
    const problem = { reason, detail: `${this.#options.path}: ${what}` };
    const { loaded } = this.#state;
    return this.#state = { ...defined({ loaded }), problem };
  }
}
