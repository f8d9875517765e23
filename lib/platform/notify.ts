/** Where the service supervisor's variables are looked up. */
export type NotifyEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * Tells systemd how the service fares, by the protocol of `sd_notify(3)`: one datagram a message.
 * No call ever rejects, and none does anything where no supervisor listens.
 */
export interface Notifier extends Disposable {
  /** Whether messages go anywhere. */
  readonly active: boolean;
  /**
   * How often {@linkcode Notifier.watchdog} has to be called, in milliseconds: half of what the
   * supervisor allows. Undefined when no watchdog watches this process.
   */
  readonly watchdogIntervalMs?: number;
  /** The service does its job; also the end of a reload. */
  ready(status?: string): Promise<void>;
  /** One line for `systemctl status`. */
  status(text: string): Promise<void>;
  /** A reload begins; {@linkcode Notifier.ready} ends it. */
  reloading(): Promise<void>;
  /** The service begins to stop. */
  stopping(): Promise<void>;
  /** The service still turns its wheel. */
  watchdog(): Promise<void>;
}

/** What a notifier asks of the process that it speaks for. */
export interface NotifierOptions {
  /** Hears, at most once, why messages cannot be sent. Default: nobody. */
  readonly warn?: (text: string) => void;
  /** Process id to compare with `WATCHDOG_PID`. Default: our own. */
  readonly pid?: number;
}

/**
 * A notifier for the supervisor that the environment names: `NOTIFY_SOCKET` (a path, or `@name` in
 * the abstract namespace), `WATCHDOG_USEC` and `WATCHDOG_PID`. Without `NOTIFY_SOCKET` every call
 * is a silent no-op.
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
 * Half of the supervisor's limit in milliseconds, at least 1; undefined when the watchdog is off or
 * watches another process (`sd_watchdog_enabled(3)`).
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

  get active(): boolean {
    return !this.#unavailable;
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
        throw new TypeError("the name is neither a path nor abstract");
      }
      this.#socket ??= openSender(this.#runtimeDirectory);
      const bytes = new TextEncoder().encode(message);
      await this.#socket.send(bytes, { transport: "unixpacket", path: this.#target });
    } catch (error) {
      if (!this.#unavailable) this.#tell(error);
    }
  }

  // What fails once may work the next time (a supervisor that executes itself anew), and a watchdog
  // ping left out would cost our life. A name that cannot work is not tried again.
  #tell(error: unknown): void {
    const socket = this.#target.replace("\0", "@");
    const hopeless = error instanceof TypeError;
    const reason = hopeless && this.#target.startsWith("\0")
      ? "this build cannot reach a socket in the abstract namespace"
      : error instanceof Error
      ? error.message
      : String(error);
    if (hopeless) this[Symbol.dispose]();
    if (this.#warned) return;
    this.#warned = true;
    this.#warn(`notify the service supervisor at ${socket}: ${reason}; going on without`);
  }
}

// Deno only sends from a bound socket. Its name is needed by nobody, so it is removed at once:
// there is nothing to clean up when the agent is killed.
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

// systemd gives several folders joined by colons; the first is the service's main one.
function runtimeDirectory(env: NotifyEnvironment): string | undefined {
  const first = env["RUNTIME_DIRECTORY"]?.split(":")[0] ?? "";
  return first.startsWith("/") ? first : undefined;
}

// `Type=notify-reload` wants the time on CLOCK_MONOTONIC at which the reload began, and takes any
// that is not before its own. The nearest that Deno tells is the uptime in whole seconds: one more
// is never too early. Where the uptime may not be read, the field is left out.
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
