import { basename } from "@std/path";
import { fstatSync } from "node:fs";
import process from "node:process";

/** What the operating system gives to a program: its words, its signals, its standard streams. */
export interface Host {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly pid: number;
  /** The user in whose name we run; 0 is root. */
  uid(): number;
  /** The binary that runs: ours when compiled, deno's otherwise. */
  readonly execPath: string;
  /** The name that the program was called by, which a link to it decides. */
  readonly calledAs: string;
  /** Whether this is the compiled binary. */
  readonly standalone: boolean;
  readonly denoVersion: string;
  readonly stdoutIsTerminal: boolean;
  /** Whether what is written to the standard error goes to systemd's journal. */
  readonly stderrIsJournal: boolean;
  /** Size of the terminal in characters; 80 by 24 where there is none to ask. */
  terminalSize(): { readonly columns: number; readonly rows: number };
  /** Whether anybody still reads; nobody is no error. */
  out(text: string): boolean;
  err(text: string): void;
  /** Calls back at each of these signals, until disposed. */
  onSignal(names: readonly HostSignal[], received: (name: HostSignal) => void): Disposable;
  /** The whole standard input, of at most 64 KiB. */
  readInput(): Promise<string>;
  residentBytes(): number;
  /** The limit of open file descriptors that is in force (the soft limit). */
  descriptorLimit(): Promise<number>;
  /**
   * Calls back for an error that no code handled, until disposed; without it such an error ends the
   * process. `isFatal`: it was thrown outside of any promise, so that work was left half done.
   */
  onUnhandledError(report: (error: unknown, isFatal: boolean) => void): Disposable;
  /** The command that runs this very program again. */
  selfCommand(mainUrl: string): readonly string[];
}

/** The signals that the agent listens to. */
export type HostSignal = "SIGTERM" | "SIGINT" | "SIGHUP";

const MAX_INPUT = 64 * 1024;
/** Assumed where the limit cannot be read: the kernel's default. */
const DEFAULT_DESCRIPTOR_LIMIT = 1_024;
const encoder = new TextEncoder();

function writeAll(stream: { writeSync(data: Uint8Array): number }, text: string): boolean {
  let rest = encoder.encode(text);
  try {
    while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
    return true;
  } catch (error) {
    // Whoever read us has gone: there is nobody to tell.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    return false;
  }
}

/**
 * Whether `JOURNAL_STREAM` (`device:inode`, `systemd.exec(5)`) names the file that the standard
 * error is: a child of a service inherits the variable, and may write elsewhere.
 */
export function isJournal(
  journalStream: string | undefined,
  stat: () => { readonly dev: bigint; readonly ino: bigint },
): boolean {
  if (journalStream === undefined || journalStream === "") return false;
  try {
    const { dev, ino } = stat();
    return journalStream === `${dev}:${ino}`;
  } catch {
    return false; // the standard error is closed
  }
}

/**
 * The compiled binary may not read `/proc`, and Deno has no call for limits, but a child inherits
 * them. An image without a shell gets the default.
 */
async function readDescriptorLimit(): Promise<number> {
  try {
    const args = ["-c", "ulimit -Sn"];
    const shell = new Deno.Command("/bin/sh", { args, clearEnv: true, stdin: "null" });
    const { stdout } = await shell.output();
    const text = new TextDecoder().decode(stdout).trim();
    if (text === "unlimited") return Infinity;
    return /^[0-9]+$/.test(text) ? Number(text) : DEFAULT_DESCRIPTOR_LIMIT;
  } catch {
    return DEFAULT_DESCRIPTOR_LIMIT;
  }
}

function onUnhandledError(report: (error: unknown, isFatal: boolean) => void): Disposable {
  const rejected = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    report(event.reason, false);
  };
  const thrown = (event: ErrorEvent) => {
    event.preventDefault();
    report(event.error, true);
  };
  globalThis.addEventListener("unhandledrejection", rejected);
  globalThis.addEventListener("error", thrown);
  return {
    [Symbol.dispose]() {
      globalThis.removeEventListener("unhandledrejection", rejected);
      globalThis.removeEventListener("error", thrown);
    },
  };
}

/** The real host. */
export function systemHost(): Host {
  let descriptorLimit: Promise<number> | undefined;
  return {
    args: Deno.args,
    env: Deno.env.toObject(),
    cwd: Deno.cwd(),
    pid: Deno.pid,
    uid: () => Deno.uid() ?? 0,
    execPath: Deno.execPath(),
    calledAs: basename(process.argv0),
    standalone: Deno.build.standalone,
    denoVersion: Deno.version.deno,
    stdoutIsTerminal: Deno.stdout.isTerminal(),
    stderrIsJournal: isJournal(
      Deno.env.get("JOURNAL_STREAM"),
      () => fstatSync(2, { bigint: true }),
    ),
    terminalSize() {
      try {
        return Deno.consoleSize();
      } catch {
        return { columns: 80, rows: 24 };
      }
    },
    out: (text) => writeAll(Deno.stdout, text),
    err: (text) => void writeAll(Deno.stderr, text),
    onSignal(names, received) {
      const listeners = names.map((name) => {
        const listener = () => received(name);
        Deno.addSignalListener(name, listener);
        return () => Deno.removeSignalListener(name, listener);
      });
      return { [Symbol.dispose]: () => listeners.forEach((remove) => remove()) };
    },
    async readInput() {
      let text = "";
      for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        if (text.length > MAX_INPUT) throw new RangeError("read the standard input: too long");
      }
      return text;
    },
    residentBytes: () => Deno.memoryUsage().rss,
    descriptorLimit: () => descriptorLimit ??= readDescriptorLimit(),
    onUnhandledError,
    selfCommand: (mainUrl) =>
      Deno.build.standalone
        ? [Deno.execPath()]
        : [Deno.execPath(), "run", "-A", "--quiet", new URL(mainUrl).pathname],
  };
}
