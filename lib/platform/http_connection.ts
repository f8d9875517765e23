/** How long each phase of a connection may take, in milliseconds. */
export const DEADLINES = {
  /** Until the first byte of the first or of another request. */
  idle: 15_000,
  /** From its first byte until the end of a request's head. */
  head: 5_000,
  body: 10_000,
  handler: 60_000,
  /** For one of the few places of large responses. */
  queued: 2_000,
  /** Without any progress of a response. */
  stalled: 5_000,
  /** For a response as a whole. */
  response: 20_000,
  /** For the client to read an error before the connection is closed. */
  linger: 1_000,
} as const;

export const MAX_CONNECTIONS = 64;
/** Connections that may have a response of more than `SMALL_BYTES` in transit. */
export const MAX_LARGE_RESPONSES = 8;
/** The kernel takes so much for a new connection, whatever the client does: it never stalls. */
export const SMALL_BYTES = 4_096;
/** The head of any response of ours is shorter. */
export const MAX_HEAD_BYTES = 1_024;
/** A large response that has not progressed for so long gives way to another. */
export const GIVES_WAY_MS = 500;
export const WRITE_BYTES = 65_536;
export const MAX_LINGER_BYTES = 262_144;
export const CHECK_EVERY_MS = 500;
export const ACCEPT_PAUSE_MS = 100;
/** So many failures of `accept` in a row, and the listener is opened again. */
export const REOPEN_AFTER = 10;
/** For requests in progress when the server is stopped. */
export const DRAIN_MS = 1_500;

export type Connection = Deno.TcpConn | Deno.UnixConn;

/** The client of a connection. */
export interface Client {
  readonly connection: Connection;
  /** Undefined on a unix socket, and for loopback. */
  readonly address: string | undefined;
  jitter: "idle" | "head" | "body" | "handler" | "queued" | "response" | "linger";
  /** Monotonic times. */
  progressAtMs: number;
  deadlineMs: number;
  writtenBytes: number;
  /** Closed by us. A write that is pending may hold its descriptor a while longer. */
  closed: boolean;
}

/** Whether the server waits for this client, and loses nothing by closing the connection. */
export function isWaiting({ jitter }: Client): boolean {
  return jitter !== "handler" && jitter !== "response";
}

/** Whether the client has not read for a while. */
export function isStalled({ jitter, progressAtMs }: Client, nowMs: number): boolean {
  return jitter === "response" && nowMs - progressAtMs >= GIVES_WAY_MS;
}

export function closeQuietly(closable: { close(): void }): void {
  try {
    closable.close();
  } catch {
    // It is closed.
  }
}
