import { dirname } from "@std/path";
import { type ByteTap, isMemoryBacked, readLink, removeFile, serveByteTap } from "../edge/mod.ts";
import {
  type ImageReference,
  messageOf,
  type Observer,
  Secret,
  type TapStatus,
} from "../model/mod.ts";
import { createCriReader, CRI_NOTES, type CriNote, PullBook } from "../serve/mod.ts";
import type { Context } from "./context.ts";
import { divideDescriptors, MAX_CRI_CONNECTIONS } from "./descriptor_budget.ts";
import { type CriConfig, isOut, keptPulls } from "./tap_switch.ts";

const MAX_STATE_BYTES = 64 * 1024 * 1024;
/** Changes so close together are written once. */
const SAVE_AFTER_MS = 200;
/** How often it is looked where the clients' link leads, and whether we can be reached. */
const LOOK_EVERY_MS = 2_000;

type Counts = ReturnType<ByteTap["counts"]>;

const NOTHING: Counts = {
  openConnections: 0,
  connections: 0,
  refusedConnections: 0,
  bytesFromClients: 0,
  bytesFromServer: 0,
};

/** A tap that serves. */
interface Serving {
  readonly tap: ByteTap;
  readonly sinceMs: number;
  leadsTo: string | undefined;
  isOut: boolean;
}

/**
 * The CRI tap of a running agent: what it sees outlives reloads, and restarts where that is wanted.
 * Trouble with it is told and stops nothing: it only means that pulls are not seen.
 */
export class CriTap implements AsyncDisposable {
  readonly book: PullBook;
  readonly #context: Context;
  readonly #observer: Observer;
  #config: CriConfig | undefined;
  #serving: Serving | undefined;
  #failure: string | undefined;
  #ended = new AbortController();
  #looking: Promise<void> = Promise.resolve();
  /** What passed before the configuration changed. */
  #before: Counts = NOTHING;
  #notes = { lost: 0, skipped: 0 };
  #statePath: string | undefined;
  #saving: Promise<void> | undefined;
  #told = new Set<string>();

  /** @param pulled Called when a pull has succeeded. */
  constructor(context: Context, observer: Observer, pulled: (image: ImageReference) => void) {
    this.#context = context;
    this.#observer = observer;
    this.book = new PullBook({
      now: context.clock.wallMs,
      note: (note) => this.#note(note),
      changed: ({ kind, image }) => {
        this.#save();
        if (kind === "confirmed" || kind === "pods") pulled(image);
      },
    });
  }

  /** Serves as a configuration says. Never rejects. */
  async apply(config: CriConfig): Promise<void> {
    if (JSON.stringify(config) === JSON.stringify(this.#config)) return;
    this.#config = config;
    await this.#stop();
    if (!config.enabled || !config.remember) await this.#forgetKept(config);
    if (!config.enabled) return;
    await this.#tryServing(config);
    this.#ended = new AbortController();
    this.#looking = this.#look(config, this.#ended.signal);
  }

  status(): TapStatus | undefined {
    const { link, socket = "" } = this.#config ?? {};
    const counts = this.#counts();
    const leadsTo = this.#serving?.leadsTo;
    return {
      ...this.#state(),
      socket,
      ...(link !== undefined && { link }),
      ...(leadsTo !== undefined && { leadsTo }),
      ...(this.#serving && { servingSinceMs: this.#serving.sinceMs }),
      openConnections: counts.openConnections,
      connections: counts.connections,
      refusedConnections: counts.refusedConnections,
      bytesToRuntime: counts.bytesFromClients,
      bytesToClients: counts.bytesFromServer,
      pulls: this.book.pulls,
      lostReadings: this.#notes.lost,
      skippedMessages: this.#notes.skipped,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }

  #state(): Pick<TapStatus, "state" | "detail"> {
    if (this.#serving === undefined) {
      return { state: "not-serving", ...(this.#failure && { detail: this.#failure }) };
    }
    const { isOut, leadsTo } = this.#serving;
    const { link, socket } = this.#config ?? {};
    if (link === undefined || leadsTo === socket) return { state: "in-path" };
    return { state: isOut ? "stepped-out" : "bypassed" };
  }

  async #tryServing(config: CriConfig): Promise<void> {
    if (config.remember && this.#statePath === undefined) await this.#restore(config);
    try {
      this.#serving = await this.#serve(config);
      this.#failure = undefined;
    } catch (error) {
      this.#failure = messageOf(error);
      this.#warn(`CRI pulls are not seen: ${this.#failure}`);
    }
  }

  async #serve(config: CriConfig): Promise<Serving> {
    const { socket: path, link, imageServiceSocket: upstream } = config;
    const out = await isOut(this.#context.files, link);
    const limit = await this.#context.host.descriptorLimit();
    const { criConnections: maxConnections } = divideDescriptors(limit);
    if (maxConnections < MAX_CRI_CONNECTIONS) {
      this.#warn(
        `the limit of open files is ${limit}, so the CRI proxy accepts ${maxConnections} ` +
          "connections; set LimitNOFILE=8192 in the unit",
      );
    }
    const tap = await serveByteTap({
      path,
      upstream,
      reader: () => createCriReader({ book: this.book, note: (note) => this.#note(note) }),
      isOut: out,
      maxConnections,
      ...(link !== undefined && { link }),
    });
    const leadsTo = link && await readLink(link);
    const sinceMs = this.#context.clock.wallMs();
    return { tap, sinceMs, leadsTo, isOut: out };
  }

  async #look(config: CriConfig, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#context.clock.sleep(LOOK_EVERY_MS, { signal });
        await this.#lookOnce(config, signal);
      } catch {
        // Aborted, or a folder that may not be read now: what is known stays.
      }
    }
  }

  /**
   * Where the link leads is others' to say as well: it is looked at, and left. But a link to a
   * socket that is gone would be the end of pulls.
   */
  async #lookOnce(config: CriConfig, signal: AbortSignal): Promise<void> {
    const { files } = this.#context;
    const { link, socket } = config;
    const serving = this.#serving;
    if (serving !== undefined && await files.stat(socket) !== undefined) {
      if (link === undefined) return;
      serving.isOut = await isOut(files, link);
      serving.leadsTo = await readLink(link);
      return;
    }
    if (serving !== undefined) {
      this.#warn(`${socket} was removed: it is made again`);
      await this.#leave();
    }
    if (!signal.aborted) await this.#tryServing(config);
  }

  async #stop(): Promise<void> {
    this.#ended.abort();
    await this.#looking;
    await this.#leave();
    this.#failure = undefined;
    await this.#saving;
    this.#statePath = undefined;
  }

  async #leave(): Promise<void> {
    const serving = this.#serving;
    this.#before = { ...this.#counts(), openConnections: 0 };
    this.#serving = undefined;
    await serving?.tap[Symbol.asyncDispose]();
  }

  #counts(): Counts {
    const now = this.#serving?.tap.counts() ?? NOTHING;
    const before = this.#before;
    return {
      openConnections: now.openConnections,
      connections: before.connections + now.connections,
      refusedConnections: before.refusedConnections + now.refusedConnections,
      bytesFromClients: before.bytesFromClients + now.bytesFromClients,
      bytesFromServer: before.bytesFromServer + now.bytesFromServer,
    };
  }

  async #restore({ socket }: CriConfig): Promise<void> {
    const { files } = this.#context;
    const path = keptPulls(socket);
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

  /** What was kept while it was wanted is wanted no more. */
  async #forgetKept({ socket }: CriConfig): Promise<void> {
    await removeFile(keptPulls(socket)).catch((error) => this.#warn(messageOf(error)));
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
    if (note.kind === "lost") this.#notes.lost++;
    if (note.kind === "skipped") this.#notes.skipped++;
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
