import { dirname } from "@std/path";
import {
  type ByteProxy,
  isMemoryBacked,
  listensOn,
  pointLink,
  readLink,
  removeFile,
  serveByteProxy,
} from "../platform/mod.ts";
import {
  type CriProxyStatus,
  type ImageReference,
  messageOf,
  type Observer,
  Secret,
} from "../model/mod.ts";
import { createCriReader, CRI_NOTES, type CriNote, PullCredentialCache } from "../cri/mod.ts";
import type { Context } from "../platform/mod.ts";
import { divideDescriptors, MAX_CRI_CONNECTIONS } from "./descriptor_budget.ts";
import { PullCacheFile } from "../cri/mod.ts";
import { type CriConfig, isOut, pullCachePath } from "./cri_proxy_link.ts";

const MAX_STATE_BYTES = 64 * 1024 * 1024;
/** How often the link and the socket are checked. */
const CHECK_EVERY_MS = 2_000;
/** How long calls in flight may take to complete; below `TimeoutStopSec=` of the unit. */
const DRAIN_MS = 10_000;
const DRAIN_POLL_MS = 20;

type Counts = ReturnType<ByteProxy["counts"]>;

const NOTHING: Counts = {
  openConnections: 0,
  connections: 0,
  refusedConnections: 0,
  bytesFromClients: 0,
  bytesFromServer: 0,
};

/** A CRI proxy that serves. */
interface Serving {
  readonly criProxy: ByteProxy;
  linkTarget: string | undefined;
  isOut: boolean;
  /** When a client was last seen connected, at first when it began to serve. */
  clientAtMs: number;
  /** Connections counted then. */
  connections: number;
}

/**
 * The CRI proxy of a running agent: what it sees outlives reloads, and restarts where that is wanted.
 * Trouble with it is told and stops nothing: it only means that pulls are not seen.
 */
export class CriProxy implements AsyncDisposable {
  readonly book: PullCredentialCache;
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
  #file: PullCacheFile | undefined;
  #restoredImages = 0;
  #told = new Set<string>();

  /** @param pulled Called when a pull has succeeded. */
  constructor(context: Context, observer: Observer, pulled: (image: ImageReference) => void) {
    this.#context = context;
    this.#observer = observer;
    this.book = new PullCredentialCache({
      now: () => context.clock.wallMs(),
      note: (note) => this.#note(note),
      changed: ({ kind, image }) => {
        this.#file?.changed();
        if (kind === "confirmed" || kind === "pods") pulled(image);
      },
    });
  }

  /** Serves as a configuration says. Never rejects. */
  async apply(config: CriConfig): Promise<void> {
    if (JSON.stringify(config) === JSON.stringify(this.#config)) return;
    const keepsLink = config.enabled && config.link === this.#config?.link;
    await this.#stop(keepsLink);
    this.#config = config;
    if (!config.enabled || !config.persist) await this.#forgetCached(config);
    if (!config.enabled) return;
    await this.#tryServing(config);
    this.#ended = new AbortController();
    this.#looking = this.#checkRepeatedly(config, this.#ended.signal);
  }

  status(): CriProxyStatus | undefined {
    const { link, socket = "" } = this.#config ?? {};
    const counts = this.#counts();
    const { linkTarget, clientAtMs } = this.#serving ?? {};
    const isIdle = counts.openConnections === 0 && clientAtMs !== undefined;
    return {
      ...this.#state(),
      socket,
      ...(link !== undefined && { link }),
      ...(linkTarget !== undefined && { linkTarget }),
      ...(isIdle && { idleSinceMs: clientAtMs }),
      restoredImages: this.#restoredImages,
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
    const { fallbackDelayMs = 0 } = this.#config ?? {};
    await this.#stop(fallbackDelayMs > 0); // the unit moves the link later, unless we are back
  }

  #state(): Pick<CriProxyStatus, "state" | "detail"> {
    if (this.#serving === undefined) {
      return { state: "not-serving", ...(this.#failure && { detail: this.#failure }) };
    }
    const { isOut, linkTarget } = this.#serving;
    const { link, socket } = this.#config ?? {};
    if (link === undefined || linkTarget === socket) return { state: "in-path" };
    return { state: isOut ? "switched-off" : "bypassed" };
  }

  async #tryServing(config: CriConfig): Promise<void> {
    if (config.persist && this.#file === undefined) await this.#restore(config);
    try {
      this.#serving = await this.#serve(config);
      this.#failure = undefined;
    } catch (error) {
      this.#failure = messageOf(error);
      this.#warn(`CRI pulls are not seen: ${this.#failure}`);
      await this.#repairLink(config);
    }
  }

  async #serve({ socket, link, imageServiceSocket: upstream }: CriConfig): Promise<Serving> {
    const { files, clock } = this.#context;
    const limit = await this.#context.host.descriptorLimit();
    const { criConnections: maxConnections } = divideDescriptors(limit);
    if (maxConnections < MAX_CRI_CONNECTIONS) {
      this.#warn(
        `the limit of open files is ${limit}, so the CRI proxy accepts ${maxConnections} ` +
          "connections; set LimitNOFILE=8192 in the unit",
      );
    }
    const criProxy = await serveByteProxy({
      path: socket,
      upstream,
      reader: () => createCriReader({ cache: this.book, note: (note) => this.#note(note) }),
      maxConnections,
    });
    const out = await isOut(files, link);
    try {
      if (link !== undefined && !out) await pointLink(link, socket);
    } catch (error) {
      await criProxy[Symbol.asyncDispose]();
      throw error;
    }
    const linkTarget = link && await readLink(link);
    return { criProxy, linkTarget, isOut: out, clientAtMs: clock.wallMs(), connections: 0 };
  }

  async #checkRepeatedly(config: CriConfig, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#context.clock.sleep(CHECK_EVERY_MS, { signal });
        await this.#check(config, signal);
      } catch {
        // Aborted, or a folder that cannot be read now: the next check tries again.
      }
    }
  }

  async #check(config: CriConfig, signal: AbortSignal): Promise<void> {
    const { files, clock } = this.#context;
    const { link, socket } = config;
    const serving = this.#serving;
    if (serving === undefined) return await this.#tryServing(config);
    if (await files.stat(socket) === undefined) {
      this.#warn(`${socket} was removed: it is made again`);
      await this.#close(serving);
      if (!signal.aborted) await this.#tryServing(config);
      return;
    }
    const { openConnections, connections } = serving.criProxy.counts();
    if (openConnections > 0 || connections !== serving.connections) {
      serving.clientAtMs = clock.wallMs();
      serving.connections = connections;
    }
    if (link !== undefined) await this.#checkLink(serving, config, link);
  }

  /**
   * A link to the runtime is taken back unless `cri-proxy off` put it there: after a slow start, the unit
   * may have moved it. A link that leads anywhere else is reported and left alone.
   */
  async #checkLink(
    serving: Serving,
    { socket, imageServiceSocket }: CriConfig,
    link: string,
  ): Promise<void> {
    serving.linkTarget = await readLink(link);
    serving.isOut = await isOut(this.#context.files, link); // `cri-proxy off` moves the link afterwards
    if (serving.linkTarget !== imageServiceSocket || serving.isOut) return;
    await pointLink(link, socket);
    serving.linkTarget = socket;
  }

  /** Leads the link to the runtime where nothing listens behind it. */
  async #repairLink({ link, imageServiceSocket }: CriConfig): Promise<void> {
    if (link === undefined || await readLink(link) === imageServiceSocket) return;
    if (!await listensOn(link)) await pointLink(link, imageServiceSocket).catch(() => {});
  }

  async #stop(keepsLink: boolean): Promise<void> {
    this.#ended.abort();
    await this.#looking;
    const { link, socket, imageServiceSocket } = this.#config ?? {};
    if (this.#serving !== undefined) {
      const isOurs = link !== undefined && await readLink(link) === socket;
      if (isOurs && !keepsLink) await pointLink(link, imageServiceSocket ?? "").catch(() => {});
      await this.#drain(this.#serving.criProxy);
      await this.#close(this.#serving);
    }
    this.#failure = undefined;
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Waits for calls in flight. New ones are served meanwhile: clients have nowhere else to go. */
  async #drain(criProxy: ByteProxy): Promise<void> {
    const { clock } = this.#context;
    const untilMs = clock.monotonicMs() + DRAIN_MS;
    while (!criProxy.isIdle() && clock.monotonicMs() < untilMs) await clock.sleep(DRAIN_POLL_MS);
  }

  async #close({ criProxy }: Serving): Promise<void> {
    this.#before = { ...this.#counts(), openConnections: 0 };
    this.#serving = undefined;
    await criProxy[Symbol.asyncDispose]();
  }

  #counts(): Counts {
    const now = this.#serving?.criProxy.counts() ?? NOTHING;
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
    const { files, clock } = this.#context;
    const path = pullCachePath(socket);
    try {
      if (!await isMemoryBacked(dirname(path))) {
        this.#warn(`${path} would be on a disk: what CRI pulls show is not kept over a restart`);
        return;
      }
      this.#file = new PullCacheFile({
        path,
        files,
        clock,
        serialize: () => this.book.serialize(),
        warn: (text) => this.#warn(text),
      });
      const text = await files.readText(path, { maxBytes: MAX_STATE_BYTES });
      if (text === undefined || !this.book.restore(new Secret(text))) return;
      this.#restoredImages = this.book.size;
    } catch (error) {
      this.#warn(`what CRI pulls showed before is lost: ${messageOf(error)}`);
    }
  }

  /** What was kept while it was wanted is wanted no more. */
  async #forgetCached({ socket }: CriConfig): Promise<void> {
    await removeFile(pullCachePath(socket)).catch((error) => this.#warn(messageOf(error)));
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
    this.#observer.notify({ kind: "warning", code: "cri-proxy", text });
  }
}
