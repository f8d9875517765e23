import type { Clock, ProcessRequest, ProcessResult, ProcessRunner } from "../model/mod.ts";

/** From TERM to KILL, and from the end of the child to letting go of its pipes. */
const GRACE_MS = 1_000;
const MAX_STDERR_BYTES = 4 * 1024;

/** Why a child was stopped before its own end. */
type StopReason = "timed-out" | "too-much-output" | "aborted";

/**
 * Runs children as leaders of process groups of their own, so that the limit covers their children
 * too: the group gets TERM, then KILL, and pipes that a survivor holds are let go.
 */
export function systemProcessRunner(clock: Clock): ProcessRunner {
  return {
    async run(request, { signal } = {}) {
      signal?.throwIfAborted();
      const child = start(request);
      if (!(child instanceof Deno.ChildProcess)) return child;
      return await new Run(child, request, clock).finish(signal);
    },
  };
}

function start({ path, args, env }: ProcessRequest): Deno.ChildProcess | ProcessResult {
  try {
    return new Deno.Command(path, {
      args: [...args],
      env: { ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { kind: "not-started", reason: "missing" };
    const denied = error instanceof Deno.errors.PermissionDenied ||
      error instanceof Deno.errors.NotCapable;
    return { kind: "not-started", reason: denied ? "not-executable" : "other" };
  }
}

/** One child, from its start to its end. */
class Run {
  readonly #child: Deno.ChildProcess;
  readonly #request: ProcessRequest;
  readonly #clock: Clock;
  readonly #pipes = new AbortController();
  readonly #ended = new AbortController();
  #stopped: StopReason | undefined;
  #exited = false;

  constructor(child: Deno.ChildProcess, request: ProcessRequest, clock: Clock) {
    this.#child = child;
    this.#request = request;
    this.#clock = clock;
  }

  async finish(signal: AbortSignal | undefined): Promise<ProcessResult> {
    const aborted = () => this.#stop("aborted");
    signal?.addEventListener("abort", aborted, { once: true });
    this.#after(this.#request.timeoutMs, () => this.#stop("timed-out"));
    const { maxStdoutBytes } = this.#request;
    const stdout = this.#read(
      this.#child.stdout,
      maxStdoutBytes,
      () => this.#stop("too-much-output"),
    );
    const stderr = this.#read(this.#child.stderr, MAX_STDERR_BYTES);
    const feeding = this.#feed();
    const { code } = await this.#child.status;
    this.#exited = true;
    // What it left running keeps the pipes open; it has had its time.
    const outputs = Promise.all([stdout, stderr]);
    const late = new AbortController();
    await Promise.race([
      outputs,
      this.#clock.sleep(GRACE_MS, { signal: late.signal }).catch(() => {}),
    ]);
    late.abort();
    this.#signalGroup("SIGKILL");
    this.#pipes.abort();
    this.#ended.abort();
    signal?.removeEventListener("abort", aborted);
    const [out, err] = await outputs;
    await feeding;
    if (this.#stopped === "aborted") throw signal?.reason;
    if (this.#stopped !== undefined) return { kind: this.#stopped, stderr: err };
    return { kind: "exited", code, stdout: out, stderr: err };
  }

  #after(ms: number, action: () => void): void {
    this.#clock.sleep(ms, { signal: this.#ended.signal }).then(action, () => {});
  }

  #stop(reason: StopReason): void {
    if (this.#stopped !== undefined || (this.#exited && reason === "timed-out")) return;
    this.#stopped = reason;
    this.#signalGroup("SIGTERM");
    this.#after(GRACE_MS, () => this.#signalGroup("SIGKILL"));
  }

  #signalGroup(name: Deno.Signal): void {
    try {
      Deno.kill(-this.#child.pid, name);
    } catch {
      // Nobody of the group is left.
    }
  }

  async #feed(): Promise<void> {
    const writer = this.#child.stdin.getWriter();
    const gone = new Promise<void>((resolve) =>
      this.#pipes.signal.addEventListener("abort", () => resolve(), { once: true })
    );
    const writing = writer.write(new TextEncoder().encode(this.#request.stdin))
      .then(() => writer.close());
    // A child may end, or hang, without having read what it was given.
    await Promise.race([writing.catch(() => {}), gone]);
    await writer.abort().catch(() => {});
  }

  /** Reads to the end or to the limit; beyond it the rest is drained unseen, or `full` is called. */
  async #read(
    stream: ReadableStream<Uint8Array>,
    maxBytes: number,
    full?: () => void,
  ): Promise<string> {
    const reader = stream.getReader();
    const letGo = () => void reader.cancel().catch(() => {});
    this.#pipes.signal.addEventListener("abort", letGo, { once: true });
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      while (true) {
        const { done, value } = await reader.read();
        if (done) break;
        if (size < maxBytes) chunks.push(value.subarray(0, maxBytes - size));
        size += value.length;
        if (size > maxBytes) full?.();
      }
    } catch {
      // The pipe broke: what came before is all there is.
    }
    return new TextDecoder().decode(
      await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer(),
    );
  }
}
