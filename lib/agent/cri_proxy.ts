import { dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
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
  type Candidate,
  type CriProxyStatus,
  defined,
  type FileSystem,
  type ImageReference,
  messageOf,
  type Observer,
  Secret,
  sleepToNextTick,
} from "../model/mod.ts";
import type { CriNote, PullCacheFile, PullCredentialCache } from "../cri/mod.ts";
import type { CriPulls } from "../providers/mod.ts";
import type { Context } from "../platform/mod.ts";
import { connectionLimit, MAX_CRI_CONNECTIONS } from "./listeners.ts";

const MAX_STATE_BYTES = 64 * 1024 * 1024;
/** How often the link and the socket are checked. */
const CHECK_INTERVAL_MS = 2_400;
/** How long calls in flight may take to complete; below `TimeoutStopSec=` of the unit. */
const DRAIN_TIMEOUT_MS = 10_000;
const DRAIN_POLL_MS = 20;
/** Distinct warnings that are logged. */
const MAX_WARNINGS = 1_000;

const NO_CLIENTS: ReturnType<ByteProxy["counts"]> = {
  openConnections: 0,
  connections: 0,
  refusedConnections: 0,
  bytesToRuntime: 0,
  bytesToClients: 0,
};

type CriConfig = AgentConfig["providers"]["cri"];

/**
 * Returns the path of the file by which `cri-proxy off` keeps an agent from using the link. Like the
 * link it survives restarts of the agent, and a reboot removes it.
 */
export function offMarker(link: string): string {
  return join(dirname(link), "cri-proxy-off");
}

/** Returns whether `cri-proxy off` is in effect. */
export async function isSwitchedOff(files: FileSystem, link: string | undefined): Promise<boolean> {
  return link !== undefined && await files.stat(offMarker(link)) !== undefined;
}

/** Returns the path of the pull credentials that are kept over a restart of the agent. */
export function pullCachePath(socket: string): string {
  return join(dirname(socket), "cri-pulls.json");
}

/** A proxy that accepts connections. */
interface Serving {
  readonly proxy: ByteProxy;
  linkTarget: string | undefined;
  isOff: boolean;
  /** When a client was last connected; at first, when the proxy started. */
  clientAtMs: number;
  /** Number of accepted connections at the last check. */
  connections: number;
}

/** The reader of CRI traffic; its code is loaded when a configuration enables the proxy. */
interface CriReading {
  readonly module: typeof import("../cri/mod.ts");
  readonly cache: PullCredentialCache;
}

/**
 * Runs the CRI proxy, and keeps the credentials of pulls over reloads and, where configured, over
 * restarts. Its failures are logged and never stop the agent: they only mean that pulls are not
 * seen.
 *
 * Invariants: configurations are applied one after another; the checks of a configuration have
 * ended before the next one is applied; calls in flight are drained before the socket is closed.
 */
export class CriProxy implements AsyncDisposable, CriPulls {
  readonly #context: Context;
  readonly #observer: Observer;
  #reading: CriReading | undefined;
  #config: CriConfig | undefined;
  #applying: Promise<void> = Promise.resolve();
  #serving: Serving | undefined;
  #failure: string | undefined;
  #stopChecks = new AbortController();
  #checks: Promise<void> = Promise.resolve();
  #notes = { lost: 0, skipped: 0 };
  #file: PullCacheFile | undefined;
  #restoredImages = 0;
  readonly #warned = new Set<string>();
  readonly #onPull: (image: ImageReference) => void;

  /** @param onPull Called when a pull has succeeded. */
  constructor(
    context: Context,
    observer: Observer,
    onPull: (image: ImageReference) => void = () => {},
  ) {
    this.#context = context;
    this.#observer = observer;
    this.#onPull = onPull;
  }

  /** The credentials of pulls; undefined until a configuration has enabled the proxy. */
  get cache(): PullCredentialCache | undefined {
    return this.#reading?.cache;
  }

  /** Applies a configuration, after those before it. Never rejects. */
  apply(config: CriConfig): Promise<void> {
    return this.#applying = this.#applying.then(() => this.#apply(config));
  }

  lookup(image: ImageReference): ReturnType<CriPulls["lookup"]> {
    return this.cache?.lookup(image);
  }

  confirmed(image: ImageReference): ReturnType<CriPulls["lookup"]> {
    return this.cache?.confirmed(image);
  }

  pods(image: ImageReference): readonly { readonly uid: string }[] {
    return this.cache?.pods(image) ?? [];
  }

  /** Returns the credential for a mount that has none when no provider has one either. */
  remembered(image: ImageReference): Candidate | undefined {
    const pull = this.#config?.enabled ? this.cache?.remembered(image) : undefined;
    return pull && {
      credential: pull.credential,
      origin: "from a remembered pull over CRI",
      fetchedAtMs: pull.seenAtMs,
      watched: true,
    };
  }

  /** Returns undefined while the proxy is not enabled. */
  status(): CriProxyStatus | undefined {
    if (!this.#config?.enabled) return undefined;
    const { link, socket } = this.#config;
    const counts = this.#serving?.proxy.counts() ?? NO_CLIENTS;
    const { linkTarget, clientAtMs } = this.#serving ?? {};
    const isIdle = counts.openConnections === 0 && clientAtMs !== undefined;
    return {
      ...this.#state(this.#config),
      socket,
      ...defined({ link, linkTarget, idleSinceMs: isIdle ? clientAtMs : undefined }),
      restoredImages: this.#restoredImages,
      ...counts,
      pulls: this.cache?.pulls ?? 0,
      lostReadings: this.#notes.lost,
      skippedMessages: this.#notes.skipped,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#applying;
    const { fallbackDelayMs = 0 } = this.#config ?? {};
    // The unit moves the link after this delay, unless a new agent serves by then.
    await this.#stop({ keepsLink: fallbackDelayMs > 0 });
  }

  #state({ link, socket }: CriConfig): Pick<CriProxyStatus, "state" | "detail"> {
    if (this.#serving === undefined) {
      return defined({ state: "not-serving" as const, detail: this.#failure });
    }
    const { isOff, linkTarget } = this.#serving;
    if (link === undefined || linkTarget === socket) return { state: "in-path" };
    return { state: isOff ? "switched-off" : "bypassed" };
  }

  async #apply(config: CriConfig): Promise<void> {
    if (JSON.stringify(config) === JSON.stringify(this.#config)) return;
    await this.#stop({ keepsLink: config.enabled && config.link === this.#config?.link });
    this.#config = config;
    if (!config.enabled || !config.persist) await this.#removeCacheFile(config);
    if (!config.enabled) return await this.#releaseLink(config);
    this.#reading ??= await this.#openReading();
    await this.#tryServing(config);
    this.#stopChecks = new AbortController();
    this.#checks = this.#checkRepeatedly(config, this.#stopChecks.signal);
  }

  async #openReading(): Promise<CriReading> {
    const module = await import("../cri/mod.ts");
    const cache = new module.PullCredentialCache({
      now: () => this.#context.clock.wallMs(),
      changed: ({ kind, image }) => {
        this.#file?.changed();
        if (kind === "confirmed" || kind === "pods") this.#onPull(image);
      },
    });
    return { module, cache };
  }

  async #tryServing(config: CriConfig): Promise<void> {
    if (this.#reading === undefined) return;
    if (config.persist && this.#file === undefined) await this.#restore(config, this.#reading);
    try {
      this.#serving = await this.#serve(config, this.#reading);
      this.#failure = undefined;
    } catch (error) {
      this.#failure = messageOf(error);
      this.#warn(`credentials of CRI pulls are not observed: ${this.#failure}`);
      await this.#repairLink(config);
    }
  }

  async #serve(
    { socket, link, imageServiceSocket: upstream }: CriConfig,
    { module, cache }: CriReading,
  ): Promise<Serving> {
    const { files, clock } = this.#context;
    const limit = await this.#context.host.descriptorLimit();
    const maxConnections = connectionLimit("cri", limit);
    if (maxConnections < MAX_CRI_CONNECTIONS) {
      this.#warn(
        `the limit of open files is ${limit}, so the CRI proxy accepts ${maxConnections} ` +
          "connections; set LimitNOFILE=8192 in the unit",
      );
    }
    const proxy = await serveByteProxy({
      path: socket,
      upstream,
      reader: () => new module.CriConnectionReader({ cache, note: (note) => this.#note(note) }),
      maxConnections,
    });
    try {
      const isOff = await isSwitchedOff(files, link);
      if (link !== undefined && !isOff) await pointLink(link, socket);
      const linkTarget = link && await readLink(link);
      return { proxy, linkTarget, isOff, clientAtMs: clock.wallMs(), connections: 0 };
    } catch (error) {
      await proxy[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #checkRepeatedly(config: CriConfig, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await sleepToNextTick(this.#context.clock, CHECK_INTERVAL_MS, { signal });
        await this.#check(config, signal);
      } catch {
        // Aborted, or a folder that cannot be read now: the next check retries.
      }
    }
  }

  async #check(config: CriConfig, signal: AbortSignal): Promise<void> {
    const { files, clock } = this.#context;
    const { link, socket } = config;
    const serving = this.#serving;
    if (serving === undefined) return await this.#tryServing(config);
    if (await files.stat(socket) === undefined) {
      this.#warn(`${socket} was removed; creating it again`);
      await this.#close(serving);
      if (!signal.aborted) await this.#tryServing(config);
      return;
    }
    const { openConnections, connections } = serving.proxy.counts();
    if (openConnections > 0 || connections !== serving.connections) {
      serving.clientAtMs = clock.wallMs();
      serving.connections = connections;
    }
    if (link !== undefined) await this.#checkLink(serving, config, link);
  }

  /**
   * Moves a link to the runtime back to the proxy unless `cri-proxy off` put it there: the unit
   * moves it when the agent starts slowly. A link with another target is reported and left alone.
   */
  async #checkLink(
    serving: Serving,
    { socket, imageServiceSocket }: CriConfig,
    link: string,
  ): Promise<void> {
    serving.linkTarget = await readLink(link);
    // Read after the link: `cri-proxy off` writes the marker before it moves the link.
    serving.isOff = await isSwitchedOff(this.#context.files, link);
    if (serving.linkTarget !== imageServiceSocket || serving.isOff) return;
    await pointLink(link, socket);
    serving.linkTarget = socket;
  }

  /** Points the link to the runtime when nothing listens behind it. */
  async #repairLink({ link, imageServiceSocket }: CriConfig): Promise<void> {
    if (link === undefined || await readLink(link) === imageServiceSocket) return;
    if (!await listensOn(link)) await pointLink(link, imageServiceSocket).catch(() => {});
  }

  /** Points the link to the runtime when it points to the proxy. */
  async #releaseLink({ link, socket, imageServiceSocket }: CriConfig): Promise<void> {
    if (link === undefined || await readLink(link) !== socket) return;
    await pointLink(link, imageServiceSocket).catch((error) =>
      this.#warn(`CRI clients that use ${link} cannot connect: ${messageOf(error)}`)
    );
  }

  async #stop({ keepsLink }: { readonly keepsLink: boolean }): Promise<void> {
    this.#stopChecks.abort();
    await this.#checks;
    if (this.#serving !== undefined && this.#config !== undefined) {
      if (!keepsLink) await this.#releaseLink(this.#config);
      await this.#drain(this.#serving.proxy);
      await this.#close(this.#serving);
    }
    this.#failure = undefined;
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Waits for calls in flight. New ones are still served: a client may have only this socket. */
  async #drain(proxy: ByteProxy): Promise<void> {
    const { clock } = this.#context;
    const untilMs = clock.monotonicMs() + DRAIN_TIMEOUT_MS;
    while (!proxy.isIdle() && clock.monotonicMs() < untilMs) await clock.sleep(DRAIN_POLL_MS);
  }

  async #close({ proxy }: Serving): Promise<void> {
    this.#serving = undefined;
    await proxy[Symbol.asyncDispose]();
  }

  async #restore({ socket }: CriConfig, { module, cache }: CriReading): Promise<void> {
    const { files, clock } = this.#context;
    const path = pullCachePath(socket);
    try {
      if (!await isMemoryBacked(dirname(path))) {
        this.#warn(`${path} would be on a disk: pull credentials are not kept over a restart`);
        return;
      }
      this.#file = new module.PullCacheFile({
        path,
        files,
        clock,
        serialize: () => cache.serialize(),
        warn: (text) => this.#warn(text),
      });
      const text = await files.readText(path, { maxBytes: MAX_STATE_BYTES });
      if (text === undefined) return;
      if (cache.restore(new Secret(text))) this.#restoredImages = cache.size;
      else this.#warn(`the pull credentials in ${path} are unusable: the cache starts empty`);
    } catch (error) {
      this.#warn(`failed to restore the pull credentials: ${messageOf(error)}`);
    }
  }

  /** Removes the credentials that were kept for a restart, unless another agent uses them. */
  async #removeCacheFile({ socket }: CriConfig): Promise<void> {
    if (await listensOn(socket)) return;
    await removeFile(pullCachePath(socket)).catch((error) => this.#warn(messageOf(error)));
  }

  #note(note: CriNote): void {
    if (note.kind === "lost" && note.reason === "not-http2") return; // a probe of the socket
    if (note.kind === "lost") this.#notes.lost++;
    if (note.kind === "skipped") this.#notes.skipped++;
    const image = note.kind === "skipped" && note.image !== undefined ? ` (${note.image})` : "";
    const reason = this.#reading?.module.CRI_PROBLEMS[note.reason];
    this.#warn(`reading CRI: ${note.kind}: ${reason}${image}`);
  }

  /** Logs each text once: clients repeat their calls. */
  #warn(text: string): void {
    if (this.#warned.has(text) || this.#warned.size >= MAX_WARNINGS) return;
    this.#warned.add(text);
    this.#observer.notify({ kind: "warning", code: "cri-proxy", text });
  }
}
