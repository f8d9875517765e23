import type {
  CallOptions,
  ProcessRequest,
  ProcessResult,
  ProcessRunner,
} from "../../lib/model/mod.ts";

type Answer = ProcessResult | string | Promise<ProcessResult | string>;

/** Calls a function instead of starting a child process, and records every request. */
export class FakeProcessRunner implements ProcessRunner {
  readonly requests: ProcessRequest[] = [];
  answer: (request: ProcessRequest) => Answer;
  /** Current and maximum number of parallel runs. */
  running = 0;
  mostRunning = 0;
  #blocked: PromiseWithResolvers<void> | undefined;

  constructor(answer: (request: ProcessRequest) => Answer) {
    this.answer = answer;
  }

  /** Blocks all runs until {@linkcode FakeProcessRunner.release}. */
  hold(): void {
    this.#blocked = Promise.withResolvers<void>();
  }

  release(): void {
    this.#blocked?.resolve();
    this.#blocked = undefined;
  }

  async run(request: ProcessRequest, { signal }: CallOptions = {}): Promise<ProcessResult> {
    signal?.throwIfAborted();
    this.requests.push(request);
    this.mostRunning = Math.max(this.mostRunning, ++this.running);
    try {
      await this.#blocked?.promise;
      const answer = await this.answer(request);
      return typeof answer === "string" ? exited(answer) : answer;
    } finally {
      this.running--;
    }
  }
}

/** Returns the result of a child process that exited. */
export function exited(stdout: string, code = 0): ProcessResult {
  return { kind: "exited", code, stdout, stderr: "" };
}
