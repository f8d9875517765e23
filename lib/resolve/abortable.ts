import type { Soon } from "../model/mod.ts";

/** Waits for work that others share: an abort ends the waiting, never the work. */
export function abortable<T>(work: Soon<T>, signal: AbortSignal | undefined): Soon<T> {
  return signal === undefined || !(work instanceof Promise) ? work : awaitOrAbort(work, signal);
}

async function awaitOrAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
