import { dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { isMemoryBacked, serveByteTap } from "../edge/mod.ts";
import { messageOf, type Observer, Secret } from "../model/mod.ts";
import { createCriReader, CRI_NOTES, type CriNote, PullBook } from "../serve/mod.ts";
import type { Context } from "./context.ts";

type CriConfig = AgentConfig["providers"]["cri"];

const STATE_FILE = "cri-pulls.json";
const MAX_STATE_BYTES = 64 * 1024 * 1024;
/** Changes so close together are written once. */
const SAVE_AFTER_MS = 200;

/**
 * The CRI tap of a running agent: what it sees outlives reloads, and restarts where that is wanted.
 * Trouble with it is told and stops nothing: it only means that pulls are not seen.
 */
export class CriTap implements AsyncDisposable {
  readonly book: PullBook;
  readonly #context: Context;
  readonly #observer: Observer;
  #config: CriConfig | undefined;
  #serving: AsyncDisposable | undefined;
  #statePath: string | undefined;
  #saving: Promise<void> | undefined;
  #told = new Set<string>();

  constructor(context: Context, observer: Observer) {
    this.#context = context;
    this.#observer = observer;
    const note = (note: CriNote) => this.#note(note);
    this.book = new PullBook({ now: context.clock.wallMs, note, changed: () => this.#save() });
  }

  /** Serves as a configuration says. Never rejects. */
  async apply(config: CriConfig): Promise<void> {
    if (JSON.stringify(config) === JSON.stringify(this.#config)) return;
    this.#config = config;
    await this.#stop();
    if (!config.enabled) return;
    if (config.remember) await this.#restore(config);
    const { socket: path, link, imageServiceSocket: upstream } = config;
    const reader = () => createCriReader({ book: this.book, note: (note) => this.#note(note) });
    const serve = (more: { readonly link?: string }) =>
      serveByteTap({ path, upstream, reader, ...more });
    try {
      this.#serving = await serve(link === undefined ? {} : { link });
    } catch (error) {
      this.#warn(`CRI pulls are not seen: ${messageOf(error)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }

  async #stop(): Promise<void> {
    const serving = this.#serving;
    this.#serving = undefined;
    await serving?.[Symbol.asyncDispose]();
    await this.#saving;
    this.#statePath = undefined;
  }

  async #restore({ socket }: CriConfig): Promise<void> {
    const { files } = this.#context;
    const path = join(dirname(socket), STATE_FILE);
    try {
      if (!await isMemoryBacked(dirname(path))) {
        this.#warn(`${path} would be on a disk: what CRI pulls show is not kept over a restart`);
        return;
      }
      this.#statePath = path;
      const text = await files.readText(path, { maxBytes: MAX_STATE_BYTES });
      if (text !== undefined) this.book.restore(new Secret(text));
    } catch (error) {
      this.#warn(`what CRI pulls showed before is lost: ${messageOf(error)}`);
    }
  }

  #save(): void {
    const path = this.#statePath;
    if (path === undefined || this.#saving !== undefined) return;
    const { clock, files } = this.#context;
    this.#saving = clock.sleep(SAVE_AFTER_MS)
      .then(() => {
        this.#saving = undefined; // what changes from here on is written once more
        return files.writeAtomic(path, this.book.serialize().reveal(), { mode: 0o600 });
      })
      .catch((error) => this.#warn(`what CRI pulls show cannot be kept: ${messageOf(error)}`));
  }

  #note(note: CriNote): void {
    if (note.kind === "lost" && note.reason === "not-http2") return; // a probe of the socket
    const image = note.kind === "skipped" && note.image !== undefined ? ` (${note.image})` : "";
    this.#warn(`reading CRI: ${note.kind}: ${CRI_NOTES[note.reason]}${image}`);
  }

  /** The same words once: clients repeat themselves. */
  #warn(text: string): void {
    if (this.#told.has(text) || this.#told.size >= 1_000) return;
    this.#told.add(text);
    this.#observer.notify({ kind: "warning", code: "cri-tap", text });
  }
}
