import type { Clock, ProcessRequest, ProcessResult, ProcessRunner } from "../model/mod.ts";

/** Time from TERM to KILL, and from KILL until an unkillable child is abandoned. */
const GRACE_MS = 1_000;
const MAX_STDERR_BYTES = 4 * 1024;
const READ_BYTES = 16 * 1024;

/** Why a child was stopped before it exited. */
type StopReason = "timed-out" | "too-much-output" | "aborted";

/**
 * Runs each child as the leader of a process group, so that the timeout applies to its descendants
 * too. At the timeout the group gets TERM, then KILL after a grace period, and pipes that are still
 * open are abandoned. If a child exits but a descendant keeps a pipe open, the run continues until
 * the timeout. Remaining processes of the group are killed when the run ends.
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
    const exists = await Deno.stat(path).then(() => true, () => false);
    return exists ? "not-executable" : "missing";
  }
  const denied = error instanceof Deno.errors.PermissionDenied ||
    error instanceof Deno.errors.NotCapable;
  return denied ? "not-executable" : "other";
}

/**
 * One execution of a child.
 *
 * Invariants: the first stop reason is kept; when `finish` has resolved, no timer runs, no pipe is
 * read, and the process group has been killed.
 */
class Run {
  readonly #child: Deno.ChildProcess;
  readonly #request: ProcessRequest;
  readonly #clock: Clock;
  /** Stops the timers. */
  readonly #ended = new AbortController();
  readonly #abandonPipes: (() => void)[] = [];
  readonly #graceOver = Promise.withResolvers<void>();
  #stopped: StopReason | undefined;
  /** The exit code of a child that was not stopped. */
  #code: number | undefined;

  constructor(child: Deno.ChildProcess, request: ProcessRequest, clock: Clock) {
    this.#child = child;
    this.#request = request;
    this.#clock = clock;
  }

  async finish(signal: AbortSignal | undefined): Promise<ProcessResult> {
    const aborted = () => this.#stop("aborted");
    signal?.addEventListener("abort", aborted);
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
    // Also after a normal exit: background processes of the child would stay forever.
    this.#signalGroup("SIGKILL");
    for (const abandon of this.#abandonPipes) abandon();
    const grace = this.#clock.sleep(GRACE_MS, { signal: this.#ended.signal });
    await Promise.race([ended, grace]);
    this.#ended.abort();
    signal?.removeEventListener("abort", aborted);
    const [stdout, stderr] = await outputs;
    return this.#result(stdout, stderr, signal);
  }

  #result(stdout: string, stderr: string, signal: AbortSignal | undefined): ProcessResult {
    const stopped = this.#stopped;
    if (stopped === "aborted") throw signal?.reason;
    if (stopped === "too-much-output") return { kind: stopped, stderr };
    // The child exited in time; only its descendants were stopped at the timeout.
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
      // The group has no processes left.
    }
  }

  /** Writes the input without waiting: a child may exit or hang without reading it. */
  #feed(): void {
    const writer = this.#child.stdin.getWriter();
    writer.write(new TextEncoder().encode(this.#request.stdin))
      .then(() => writer.close())
      .catch(() => {});
  }

  /** Reads to the end, or until the pipe is abandoned. */
  async #read(
    stream: ReadableStream<Uint8Array>,
    maxBytes: number,
    beyond: "bounded" | "kept-in-part",
  ): Promise<string> {
    // Reuses one buffer; otherwise each read allocates a full one.
    const reader = stream.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(READ_BYTES);
    const abandon = () => void reader.cancel().catch(() => {});
    this.#abandonPipes.push(abandon);
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
        abandon();
      }
    } catch {
      // The pipe is broken: keep what was read before.
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(kept.slice(0));
  }
}
