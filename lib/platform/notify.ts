/** The environment variables of the service manager. */
export type NotifyEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * Reports the service state to systemd with the protocol of `sd_notify(3)`, one datagram per
 * message. Calls never reject, and do nothing without a service manager.
 */
export interface Notifier extends Disposable {
  /**
   * Interval for calls of {@linkcode Notifier.watchdog} in milliseconds: half of the watchdog
   * timeout. Undefined without a watchdog for this process.
   */
  readonly watchdogIntervalMs?: number;
  /** Reports that the service has started, or that a reload has completed. */
  ready(status?: string): Promise<void>;
  /** Sets the line that `systemctl status` shows. */
  status(text: string): Promise<void>;
  /** Reports the start of a reload, which {@linkcode Notifier.ready} completes. */
  reloading(): Promise<void>;
  /** Reports that the service is stopping. */
  stopping(): Promise<void>;
  /** Resets the watchdog timeout. */
  watchdog(): Promise<void>;
}

/** Options of {@linkcode createNotifier}. */
export interface NotifierOptions {
  /** Called at most once, if messages cannot be sent. */
  readonly warn?: (text: string) => void;
  /** Process ID to compare with `WATCHDOG_PID`. Default: the current process. */
  readonly pid?: number;
}

/**
 * Creates a notifier from `NOTIFY_SOCKET` (a path, or `@name` in the abstract namespace),
 * `WATCHDOG_USEC` and `WATCHDOG_PID`. Without `NOTIFY_SOCKET` all calls are no-ops.
 */
export function createNotifier(
  env: NotifyEnvironment,
  { warn = () => {}, pid = Deno.pid }: NotifierOptions = {},
): Notifier {
  const target = env["NOTIFY_SOCKET"] ?? "";
  const interval = target === "" ? undefined : watchdogIntervalMs(env, pid);
  return new DatagramNotifier(target, runtimeDirectory(env), interval, warn);
}

/**
 * Returns half of the watchdog timeout in milliseconds, at least 1; undefined if the watchdog is
 * disabled or monitors another process (`sd_watchdog_enabled(3)`).
 */
export function watchdogIntervalMs(env: NotifyEnvironment, pid: number): number | undefined {
  const limitUs = env["WATCHDOG_USEC"] ?? "";
  if (!/^[0-9]{1,15}$/.test(limitUs) || Number(limitUs) === 0) return undefined;
  const watched = env["WATCHDOG_PID"] ?? "";
  if (watched !== "" && watched !== String(pid)) return undefined;
  return Math.max(1, Math.floor(Number(limitUs) / 2000));
}

class DatagramNotifier implements Notifier {
  readonly watchdogIntervalMs?: number;
  readonly #target: string;
  readonly #runtimeDirectory: string | undefined;
  readonly #warn: (text: string) => void;
  #socket: Deno.DatagramConn | undefined;
  #unavailable: boolean;
  #warned = false;

  constructor(
    target: string,
    directory: string | undefined,
    intervalMs: number | undefined,
    warn: (text: string) => void,
  ) {
    this.#target = target.startsWith("@") ? `\0${target.slice(1)}` : target;
    this.#runtimeDirectory = directory;
    this.#warn = warn;
    this.#unavailable = target === "";
    if (intervalMs !== undefined) this.watchdogIntervalMs = intervalMs;
  }

  ready(status?: string): Promise<void> {
    return this.#send(status === undefined ? "READY=1" : `READY=1\nSTATUS=${oneLine(status)}`);
  }

  status(text: string): Promise<void> {
    return this.#send(`STATUS=${oneLine(text)}`);
  }

  reloading(): Promise<void> {
    return this.#send(`RELOADING=1${monotonicField()}`);
  }

  stopping(): Promise<void> {
    return this.#send("STOPPING=1");
  }

  watchdog(): Promise<void> {
    return this.#send("WATCHDOG=1");
  }

  [Symbol.dispose](): void {
    this.#unavailable = true;
    this.#socket?.close();
    this.#socket = undefined;
  }

  async #send(message: string): Promise<void> {
    if (this.#unavailable) return;
    try {
      if (!this.#target.startsWith("/") && !this.#target.startsWith("\0")) {
        throw new TypeError("the address is neither a path nor an abstract name");
      }
      this.#socket ??= openSender(this.#runtimeDirectory);
      const bytes = new TextEncoder().encode(message);
      await this.#socket.send(bytes, { transport: "unixpacket", path: this.#target });
    } catch (error) {
      if (!this.#unavailable) this.#report(error);
    }
  }

  /**
   * Warns once. Transient failures are retried with the next message, because a missed watchdog
   * message would restart the service; an invalid address is not tried again.
   */
  #report(error: unknown): void {
    const socket = this.#target.replace("\0", "@");
    const isInvalid = error instanceof TypeError;
    const reason = isInvalid && this.#target.startsWith("\0")
      ? "this build does not support sockets in the abstract namespace"
      : error instanceof Error
      ? error.message
      : String(error);
    if (isInvalid) this[Symbol.dispose]();
    if (this.#warned) return;
    this.#warned = true;
    this.#warn(`failed to notify the service manager at ${socket}: ${reason}; continuing without`);
  }
}

/**
 * Opens a socket to send from. Deno sends only from a bound socket; its path is removed immediately
 * so that nothing is left if the agent is killed.
 */
function openSender(directory: string | undefined): Deno.DatagramConn {
  const folder = directory ?? Deno.makeTempDirSync({ prefix: "nydus-auth-agent-" });
  const path = `${folder}/.notify-${crypto.randomUUID().slice(0, 8)}`;
  try {
    const socket = Deno.listenDatagram({ transport: "unixpacket", path });
    Deno.removeSync(path);
    return socket;
  } finally {
    if (directory === undefined) Deno.removeSync(folder, { recursive: true });
  }
}

/** Returns the first folder of `RUNTIME_DIRECTORY`, a list separated by colons. */
function runtimeDirectory(env: NotifyEnvironment): string | undefined {
  const first = env["RUNTIME_DIRECTORY"]?.split(":")[0] ?? "";
  return first.startsWith("/") ? first : undefined;
}

/**
 * Returns the start of a reload on CLOCK_MONOTONIC, which `Type=notify-reload` requires. Deno offers
 * only the uptime in whole seconds; rounded up, it is never before systemd's own time. Empty if the
 * permission to read the uptime is missing.
 */
function monotonicField(): string {
  try {
    return `\nMONOTONIC_USEC=${(Deno.osUptime() + 1) * 1_000_000}`;
  } catch {
    return "";
  }
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, " ");
}
