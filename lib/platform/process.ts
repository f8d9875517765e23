import type { Clock, ProcessRequest, ProcessResult, ProcessRunner } from "../model/mod.ts";

/** From TERM to KILL, and from KILL to giving up on a child that not even KILL ends. */
const GRACE_MS = 1_000;
const MAX_STDERR_BYTES = 4 * 1024;
const READ_BYTES = 16 * 1024;

/** Why a child was stopped before its own end. */
type StopReason = "timed-out" | "too-much-output" | "aborted";

/**
 * Runs children as leaders of process groups of their own, so that the limit covers their children
 * too: at the limit the group gets TERM, after a grace KILL, and pipes that a survivor holds are
 * let go. A child that ends and leaves a pipe open behind it is waited for until the limit. What is
 * left of the group when a run is over is killed.
 */
export function systemProcessRunner(clock: Clock): ProcessRunner {
  return {
    async run(request, { signal } = {}) {
      signal?.throwIfAborted();
      const child = await start(request);
      if (!(child instanceof Deno.ChildProcess)) return child;
      return await new Run(child, request, clock).finish(signal);
    },
  };
}

async function start(
  { path, args, env }: ProcessRequest,
): Promise<Deno.ChildProcess | ProcessResult> {
  // A variable, because the types of older versions do not know `detached`.
  const piped = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
  const options = { args: [...args], env: { ...env }, ...piped, detached: true };
  try {
    return new Deno.Command(path, options).spawn();
  } catch (error) {
    return { kind: "not-started", reason: await startFailure(path, error) };
  }
}

async function startFailure(path: string, error: unknown) {
  if (error instanceof Deno.errors.NotFound) {
    // A script whose interpreter is missing is "not found" as well.
    const isThere = await Deno.stat(path).then(() => true, () => false);
    return isThere ? "not-executable" : "missing";
  }
  const denied = error instanceof Deno.errors.PermissionDenied ||
    error instanceof Deno.errors.NotCapable;
  return denied ? "not-executable" : "other";
}

/** One child, from its start to its end. */
class Run {
  readonly #child: Deno.ChildProcess;
  readonly #request: ProcessRequest;
  readonly #clock: Clock;
  /** Ends the timers. */
  readonly #ended = new AbortController();
  readonly #letGo: (() => void)[] = [];
  readonly #graceOver = Promise.withResolvers<void>();
  #stopped: StopReason | undefined;
  /** The exit code of a child that ended by itself. */
  #code: number | undefined;

  constructor(child: Deno.ChildProcess, request: ProcessRequest, clock: Clock) {
    this.#child = child;
    this.#request = request;
    this.#clock = clock;
  }

  async finish(signal: AbortSignal | undefined): Promise<ProcessResult> {
    const aborted = () => this.#stop("aborted");
    signal?.addEventListener("abort", aborted, { once: true });
    this.#after(this.#request.timeoutMs, () => this.#stop("timed-out"));
    this.#feed();
    const ended = this.#child.status.then(({ code }) => {
      if (this.#stopped === undefined) this.#code = code;
    });
    const outputs = Promise.all([
      this.#read(this.#child.stdout, this.#request.maxStdoutBytes, "bounded"),
      this.#read(this.#child.stderr, MAX_STDERR_BYTES, "kept-in-part"),
    ]);
    await Promise.race([Promise.all([ended, outputs]), this.#graceOver.promise]);
    // Also after an orderly exit: what the child left in its group would stay for good.
    this.#signalGroup("SIGKILL");
    for (const letGo of this.#letGo) letGo();
    const given = this.#clock.sleep(GRACE_MS, { signal: this.#ended.signal }).catch(() => {});
    await Promise.race([ended, given]);
    this.#ended.abort();
    signal?.removeEventListener("abort", aborted);
    const [stdout, stderr] = await outputs;
    return this.#result(stdout, stderr, signal);
  }

  #result(stdout: string, stderr: string, signal: AbortSignal | undefined): ProcessResult {
    const stopped = this.#stopped;
    if (stopped === "aborted") throw signal?.reason;
    if (stopped === "too-much-output") return { kind: stopped, stderr };
    // It had ended in time; only what it left behind was stopped at the limit.
    if (this.#code !== undefined) return { kind: "exited", code: this.#code, stdout, stderr };
    return { kind: "timed-out", stderr };
  }

  #after(ms: number, action: () => void): void {
    this.#clock.sleep(ms, { signal: this.#ended.signal }).then(action, () => {});
  }

  #stop(reason: StopReason): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = reason;
    this.#signalGroup("SIGTERM");
    this.#after(GRACE_MS, () => this.#graceOver.resolve());
  }

  #signalGroup(name: Deno.Signal): void {
    try {
      Deno.kill(-this.#child.pid, name);
    } catch {
      // Nobody of the group is left.
    }
  }

  /** A child may end, or hang, without having read what it was given: nobody waits for this. */
  #feed(): void {
    const writer = this.#child.stdin.getWriter();
    this.#letGo.push(() => void writer.abort().catch(() => {}));
    writer.closed.catch(() => {});
    writer.write(new TextEncoder().encode(this.#request.stdin))
      .then(() => writer.close())
      .catch(() => {});
  }

  /** Reads to the end, or until the pipe is let go. */
  async #read(
    stream: ReadableStream<Uint8Array>,
    maxBytes: number,
    beyond: "bounded" | "kept-in-part",
  ): Promise<string> {
    // Into one buffer again and again: each read would bring one of its own, full or not.
    const reader = stream.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(READ_BYTES);
    const letGo = () => void reader.cancel().catch(() => {});
    this.#letGo.push(letGo);
    const kept = new ArrayBuffer(0, { maxByteLength: maxBytes });
    try {
      while (true) {
        const { done, value } = await reader.read(new Uint8Array(buffer));
        if (done) break;
        buffer = value.buffer;
        const at = kept.byteLength;
        const part = value.subarray(0, maxBytes - at);
        kept.resize(at + part.length);
        new Uint8Array(kept, at).set(part);
        if (part.length === value.length || beyond === "kept-in-part") continue;
        this.#stop("too-much-output");
        letGo();
      }
    } catch {
      // The pipe broke: what came before is all there is.
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(kept.slice(0));
  }
}
