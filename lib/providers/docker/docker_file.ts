import { AgentError, type Clock, type FileSystem, type ReasonCode } from "../../model/mod.ts";
import { type DockerConfig, parseDockerConfig } from "./docker_config.ts";

/** What following the file takes. */
export interface DockerFileOptions {
  readonly path: string;
  readonly files: FileSystem;
  readonly clock: Clock;
}

/** What the last read of the file gave. */
export interface DockerFileView {
  /** The last configuration that was read whole; undefined when there is none. */
  readonly good?: {
    readonly config: DockerConfig;
    /** Wall time at which it was read. */
    readonly readAtMs: number;
  };
  /** What is wrong with the file as it is now. */
  readonly problem?: { readonly reason: ReasonCode; readonly detail: string };
}

/**
 * Follows docker's `config.json`: parsed once when it changes, and a file that is caught
 * half-written leaves the last good reading in force.
 */
export class DockerFile {
  readonly #options: DockerFileOptions;
  #view: DockerFileView = {};
  #stamp: string | undefined;
  #text: string | undefined;
  #doubted = false;
  #reading: Promise<unknown> = Promise.resolve();
  #next: Promise<DockerFileView> | undefined;

  /** @param before Follows the same file until now: what it read last is not forgotten. */
  constructor(options: DockerFileOptions, before?: DockerFile) {
    this.#options = options;
    if (before === undefined || before.#options.path !== options.path) return;
    this.#view = before.#view;
    this.#text = before.#text;
  }

  /** Returns the file as it is now. Callers that arrive during a read share the one after it. */
  read(): Promise<DockerFileView> {
    this.#next ??= this.#reading.then(() => {
      this.#next = undefined;
      const reading = this.#read();
      this.#reading = reading;
      return reading;
    });
    return this.#next;
  }

  /** The next read reads the file even if its stamp is the same: two writes can share one. */
  suspect(): void {
    this.#doubted = true;
  }

  async #read(): Promise<DockerFileView> {
    const { path, files } = this.#options;
    const doubted = this.#doubted;
    this.#doubted = false;
    let text: string | undefined;
    try {
      const stat = await files.stat(path);
      if (stat !== undefined && stat.stamp === this.#stamp && !doubted) return this.#view;
      text = stat === undefined ? undefined : await files.readText(path);
      this.#stamp = stat?.stamp;
    } catch (error) {
      this.#stamp = undefined;
      return this.#keep("unreadable", error);
    }
    if (text === undefined) return this.#take(undefined, {});
    const { good } = this.#view;
    // The same as before is no news: what was read from it keeps its time.
    if (good !== undefined && text === this.#text) return this.#take(text, { good });
    try {
      return this.#take(text, { good: this.#parse(text) });
    } catch (error) {
      return this.#keep("invalid-config", error);
    }
  }

  #take(text: string | undefined, view: DockerFileView): DockerFileView {
    this.#text = text;
    return this.#view = view;
  }

  #parse(text: string): NonNullable<DockerFileView["good"]> {
    // A file that was just emptied is about to be written; docker writes `{}` when it means none.
    if (text.trim() === "" && this.#view.good !== undefined) {
      throw new AgentError("invalid-config", "read docker configuration: it is empty");
    }
    return { config: parseDockerConfig(text), readAtMs: this.#options.clock.wallMs() };
  }

  #keep(reason: ReasonCode, error: unknown): DockerFileView {
    // Only our own errors are known to quote no secret.
    const what = error instanceof AgentError ? error.message : "it cannot be read";
    const problem = { reason, detail: `${this.#options.path}: ${what}` };
    const { good } = this.#view;
    return this.#view = { ...(good && { good }), problem };
  }
}
