import type { PeerResult, UnixHttpResult } from "../model/mod.ts";

/** Turns an answer into a value by `read`, which returns undefined for what breaks the protocol. */
export function peerResult<T>(
  result: UnixHttpResult,
  read: (body: unknown) => T | undefined,
): PeerResult<T> {
  if (result.kind !== "answered") return result;
  if (result.status < 200 || result.status > 299) {
    // Never its body: nydusd echoes what it was sent.
    const detail = `it answered with status ${result.status}`;
    return { kind: "refused", status: result.status, detail };
  }
  let body: unknown;
  try {
    const text = result.body.reveal();
    body = text === "" ? undefined : JSON.parse(text);
  } catch {
    return { kind: "broken", detail: "the answer is not JSON" };
  }
  const value = read(body);
  return value === undefined
    ? { kind: "broken", detail: "the answer has not the form of this API" }
    : { kind: "ok", value };
}

/** A JSON object; anything else is undefined. */
export function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}

/** A string; anything else is undefined. */
export function string(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
