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
  /** The command that runs this very program again. */
  selfCommand(mainUrl: string): readonly string[];
}

/** The signals that the agent listens to. */
export type HostSignal = "SIGTERM" | "SIGINT" | "SIGHUP";

const MAX_INPUT = 64 * 1024;
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

/** The real host. */
export function systemHost(): Host {
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
    selfCommand: (mainUrl) =>
      Deno.build.standalone
        ? [Deno.execPath()]
        : [Deno.execPath(), "run", "-A", "--quiet", new URL(mainUrl).pathname],
  };
}
