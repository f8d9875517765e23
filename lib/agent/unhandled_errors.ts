import type { Host } from "../platform/mod.ts";
import { AgentError, type Observer } from "../model/mod.ts";

/**
 * Logs errors that no code handled. After a rejected promise the agent goes on: what waited for it
 * does not exist. An error that was thrown outside of any promise left something half done: then
 * `stop` is called, for an exit in order and a restart by the supervisor.
 */
export function reportUnhandledErrors(
  host: Host,
  observer: Observer,
  stop: () => void,
): Disposable {
  return host.onUnhandledError((error, isFatal) => {
    const text = `unhandled error, please report it: ${traceOf(error)}`;
    observer.notify({ kind: "warning", code: "unhandled-error", text });
    if (isFatal) stop();
  });
}

/**
 * Where an error came from. Not its message, unless it is ours: that of a parser quotes its input,
 * which may be a secret.
 */
function traceOf(error: unknown): string {
  if (error instanceof AgentError) return error.message;
  if (!(error instanceof Error)) return "no error object";
  const stack = (error.stack ?? "").replace(error.message, "");
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return [error.name, ...frames.slice(0, 8).map((line) => line.trim())].join(" ");
}
