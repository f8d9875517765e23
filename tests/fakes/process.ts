import type {
  CallOptions,
  ProcessRequest,
  ProcessResult,
  ProcessRunner,
} from "../../lib/model/mod.ts";

type Answer = ProcessResult | string | Promise<ProcessResult | string>;

/** Answers by a function instead of a child process, and keeps every request. */
export class FakeProcessRunner implements ProcessRunner {
  readonly requests: ProcessRequest[] = [];
  answer: (request: ProcessRequest) => Answer;
  /** Runs under way, and the most that there were at once. */
  running = 0;
  mostRunning = 0;
  #currentAuth: PromiseWithResolvers<void> | undefined;

  constructor(answer: (request: ProcessRequest) => Answer) {
    this.answer = answer;
  }

  /** From now on nothing ends before {@linkcode FakeProcessRunner.release}. */
  hold(): void {
    this.#currentAuth = Promise.withResolvers<void>();
  }

  release(): void {
    this.#currentAuth?.resolve();
    this.#currentAuth = undefined;
  }

  async run(request: ProcessRequest, { signal }: CallOptions = {}): Promise<ProcessResult> {
    signal?.throwIfAborted();
    this.requests.push(request);
    this.mostRunning = Math.max(this.mostRunning, ++this.running);
    try {
      await this.#currentAuth?.promise;
      const answer = await this.answer(request);
      return typeof answer === "string" ? exited(answer) : answer;
    } finally {
      this.running--;
    }
  }
}

/** A child that ended by itself. */
export function exited(stdout: string, code = 0): ProcessResult {
  return { kind: "exited", code, stdout, stderr: "" };
}
