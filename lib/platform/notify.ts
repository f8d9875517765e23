import { messageOf } from "../model/mod.ts";

/** The environment variables of the service manager. */
type NotifyEnvironment = Readonly<Record<string, string | undefined>>;

/** Options of {@linkcode createNotifier}. */
export interface NotifierOptions {
  /** Called at most once, if messages cannot be sent. */
  readonly warn?: (text: string) => void;
  /** Process ID to compare with `WATCHDOG_PID`. Default: the current process. */
  readonly pid?: number;
}

export type Notifier = ReturnType<typeof createNotifier>;

/**
 * Creates a notifier that reports the service state to systemd with the protocol of `sd_notify(3)`,
 * one datagram per message, to `NOTIFY_SOCKET`: a path, or `@name` in the abstract namespace. Its
 * methods never reject, and do nothing without a service manager.
 */
export function createNotifier(
  env: NotifyEnvironment,
  { warn = () => {}, pid = Deno.pid }: NotifierOptions = {},
) {
  const path = (env["NOTIFY_SOCKET"] ?? "").replace(/^@/, "\0");
  let isAvailable = path !== "";
  let isWarned = false;
  let socket: Deno.DatagramConn | undefined;
  const dispose = () => {
    isAvailable = false;
    socket?.close();
    socket = undefined;
  };
  const send = async (message: string): Promise<void> => {
    if (!isAvailable) return;
    try {
      if (!/^[/\0]/.test(path)) {
        throw new TypeError("the address is neither a path nor an abstract name");
      }
      socket ??= openSender(runtimeDirectory(env));
      await socket.send(new TextEncoder().encode(message), { transport: "unixpacket", path });
    } catch (error) {
      if (!isAvailable) return;
      // A later message is tried again, because a missed one of the watchdog would restart the
      // service; not for an invalid address.
      const isInvalid = error instanceof TypeError;
      if (isInvalid) dispose();
      if (isWarned) return;
      isWarned = true;
      const reason = isInvalid && path.startsWith("\0")
        ? "this build does not support sockets in the abstract namespace"
        : messageOf(error);
      const target = path.replace("\0", "@");
      warn(`failed to notify the service manager at ${target}: ${reason}; continuing without`);
    }
  };
  return {
    /** Interval for `watchdog` in milliseconds; undefined without a watchdog for this process. */
    watchdogIntervalMs: path === "" ? undefined : watchdogIntervalMs(env, pid),
    /** Reports that the service has started, or that a reload has completed. */
    ready: (status?: string) =>
      send(status === undefined ? "READY=1" : `READY=1\nSTATUS=${oneLine(status)}`),
    /** Sets the line that `systemctl status` shows. */
    status: (text: string) => send(`STATUS=${oneLine(text)}`),
    /** Reports the start of a reload, which `ready` completes. */
    reloading: () => send(`RELOADING=1${monotonicField()}`),
    /** Reports that the service is stopping. */
    stopping: () => send("STOPPING=1"),
    /** Resets the watchdog timeout. */
    watchdog: () => send("WATCHDOG=1"),
    [Symbol.dispose]: dispose,
  };
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

/**
 * Opens a socket to send from. Deno sends only from a bound socket; its path is removed immediately
 * so that nothing is left if the agent is killed.
 */
function openSender(directory: string | undefined): Deno.DatagramConn {
  const folder = directory ?? Deno.makeTempDirSync();
  const path = `${folder}/.notify-${crypto.randomUUID().slice(0, 8)}`;
  try {
    const socket = Deno.listenDatagram({ transport: "unixpacket", path });
    Deno.removeSync(path);
    return socket;
  } finally {
    if (directory === undefined) Deno.removeSync(folder);
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
