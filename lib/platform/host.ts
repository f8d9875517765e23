import { basename } from "@std/path";
import { fstatSync } from "node:fs";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import type { Clock, FileSystem, ProcessRunner, Random } from "../model/mod.ts";
import { systemProcessRunner } from "./process.ts";

/** The process environment: arguments, signals and standard streams. */
export interface Host {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly pid: number;
  /** Effective user ID; 0 is root. */
  uid(): number;
  /** Path of the running binary: the agent when compiled, otherwise Deno. */
  readonly execPath: string;
  /** Name by which the program was called; differs if it is called through a link. */
  readonly calledAs: string;
  /** Whether this is the compiled binary. */
  readonly standalone: boolean;
  readonly denoVersion: string;
  readonly stdoutIsTerminal: boolean;
  /** Whether the standard error is connected to the systemd journal. */
  readonly stderrIsJournal: boolean;
  /** Size of the terminal in characters; 80 by 24 without a terminal. */
  terminalSize(): { readonly columns: number; readonly rows: number };
  /** Writes to the standard output. Returns false if its reader has gone. */
  out(text: string): boolean;
  err(text: string): void;
  /** Calls `received` for each of these signals, until disposed. */
  onSignal(names: readonly HostSignal[], received: (name: HostSignal) => void): Disposable;
  /** Reads the standard input to its end; at most 64 KiB. */
  readInput(): Promise<string>;
  residentBytes(): number;
  /** CPU time that the process has used. */
  cpuSeconds(): number;
  /** The number of open file descriptors; undefined if they cannot be read. */
  openDescriptors(): Promise<number | undefined>;
  /** The soft limit of open file descriptors. */
  descriptorLimit(): Promise<number>;
  /**
   * Calls `report` for unhandled errors, until disposed; otherwise such an error ends the process.
   * `isFatal`: the error was thrown outside of any promise, so an operation may be incomplete.
   */
  onUnhandledError(report: (error: unknown, isFatal: boolean) => void): Disposable;
  /** Returns the command that runs this program again. */
  selfCommand(mainUrl: string): readonly string[];
}

/** The signals that the agent handles. */
export type HostSignal = "SIGTERM" | "SIGINT" | "SIGHUP";

const MAX_INPUT = 64 * 1024;
/** The kernel's default, if the limit cannot be read. */
const DEFAULT_DESCRIPTOR_LIMIT = 1_024;
const encoder = new TextEncoder();

function writeAll(stream: { writeSync(data: Uint8Array): number }, text: string): boolean {
  let rest = encoder.encode(text);
  try {
    while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
    return true;
  } catch (error) {
    // The reader has gone, as in `… | head`.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    return false;
  }
}

/**
 * Returns whether `JOURNAL_STREAM` (`device:inode`, `systemd.exec(5)`) identifies the standard
 * error. The variable alone is not enough: children of a service inherit it.
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
 * Reads a number through a shell: Deno has no API for limits. Returns undefined without a shell.
 */
async function numberFromShell(command: string): Promise<number | undefined> {
  const limits = { timeoutMs: 2_000, maxStdoutBytes: 100 };
  const shell = { path: "/bin/sh", args: ["-c", command], env: {}, stdin: "" };
  const result = await systemProcessRunner(systemClock).run({ ...shell, ...limits });
  const text = result.kind === "exited" ? result.stdout.trim() : "";
  if (text === "unlimited") return Infinity;
  return /^[0-9]+$/.test(text) ? Number(text) : undefined;
}

/** Newer versions of Deno allow a shell to read the list, but not the program itself. */
async function openDescriptors(): Promise<number | undefined> {
  try {
    return (await Array.fromAsync(Deno.readDir("/proc/self/fd"))).length - 1; // without that of the list
  } catch {
    return await numberFromShell(`set -- /proc/${Deno.pid}/fd/*; echo $#`);
  }
}

/** Returns the limit, which a shell inherits, or the default. */
async function readDescriptorLimit(): Promise<number> {
  return await numberFromShell("ulimit -Sn") ?? DEFAULT_DESCRIPTOR_LIMIT;
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000_000;
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

/** Returns the environment of this process. */
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
        if (text.length > MAX_INPUT) {
          throw new RangeError("failed to read the standard input: too long");
        }
      }
      return text;
    },
    residentBytes: () => Deno.memoryUsage().rss,
    cpuSeconds,
    openDescriptors,
    descriptorLimit: () => descriptorLimit ??= readDescriptorLimit(),
    onUnhandledError,
    selfCommand: (mainUrl) =>
      Deno.build.standalone
        ? [Deno.execPath()]
        : [Deno.execPath(), "run", "-A", "--quiet", new URL(mainUrl).pathname],
  };
}

/** The platform ports that are passed to the agent and to every command. */
export interface Context {
  readonly host: Host;
  readonly clock: Clock;
  readonly random: Random;
  readonly files: FileSystem;
  readonly processRunner: ProcessRunner;
  /** URL of the main module, for {@linkcode Host.selfCommand}. */
  readonly mainUrl: string;
}

/** A longer `setTimeout` fires immediately. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Everything periodic shares one timer: a wakeup costs an idle process more than its work. */
const TICK_MS = 800;
const periodic = new Set<(delayMs: number) => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let ticks = 0;
let lastTickMs = 0;

function tick(): void {
  const nowMs = performance.now();
  const delayMs = Math.max(0, nowMs - lastTickMs - TICK_MS);
  lastTickMs = nowMs;
  ticks++;
  for (const run of periodic) run(delayMs);
}

/** The wall clock and the monotonic clock of the machine. */
export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  async sleep(ms, { signal } = {}) {
    try {
      let restMs = Math.max(0, ms);
      for (; restMs > MAX_TIMEOUT_MS; restMs -= MAX_TIMEOUT_MS) {
        await setTimeout(MAX_TIMEOUT_MS, undefined, { signal });
      }
      await setTimeout(restMs, undefined, { signal });
    } catch {
      throw signal?.reason;
    }
  },
  every(intervalMs, run) {
    const count = Math.max(1, Math.floor(intervalMs / TICK_MS));
    const runWhenDue = (delayMs: number) => ticks % count === 0 && run(delayMs);
    if (periodic.size === 0) {
      lastTickMs = performance.now();
      timer = setInterval(tick, TICK_MS);
    }
    periodic.add(runWhenDue);
    return {
      [Symbol.dispose]() {
        if (periodic.delete(runWhenDue) && periodic.size === 0) clearInterval(timer);
      },
    };
  },
};

/** Random numbers for jitter. Not for secrets. */
export const systemRandom: Random = { next: () => Math.random() };
