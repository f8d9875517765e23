/** Why a connection, or a message of it, cannot be read; for logs and documentation. */
export const CRI_PROBLEMS = {
  "not-http2": "the connection does not use HTTP/2 with prior knowledge",
  "malformed-frame": "malformed HTTP/2 frame",
  "malformed-headers": "malformed HPACK header block",
  "headers-too-large": "a header block or the HPACK table exceeds the limit",
  "internal-error": "unexpected error of the reader; please report it",
  "compressed": "the message is compressed",
  "message-too-large": "the message exceeds the limit",
  "buffer-limit": "the incomplete messages of the connection exceed the limit",
  "malformed-message": "malformed request message",
  "malformed-image": "the image is not a valid reference",
  "malformed-auth": "the auth field is not a base64-encoded pair in UTF-8",
  "credential-too-large": "the credential exceeds the limit",
  "other-registry": "the credential is for another registry than the image",
} as const;

/** One of {@linkcode CRI_PROBLEMS}. */
export type CriProblem = keyof typeof CRI_PROBLEMS;

/** Thrown when a direction or a message cannot be read any further. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly reason: CriProblem;

  constructor(reason: CriProblem) {
    super(`failed to read a CRI connection: ${reason}`);
    this.reason = reason;
  }
}

/** The bytes that a parser needs next: an exact number at once, or up to a number as they arrive. */
export interface Want {
  readonly bytes: number;
  readonly isExact: boolean;
}

/** A parser that yields what it needs and gets the bytes, as a view that is valid only then. */
export type Parser<R> = Generator<Want, R, Uint8Array>;

const NOTHING = new Uint8Array(0);

/** Needs `bytes` bytes at once. */
export function* exactly(bytes: number): Parser<Uint8Array> {
  return bytes === 0 ? NOTHING : yield { bytes, isExact: true };
}

/** Needs at least one byte, and at most `bytes`. */
export function* upTo(bytes: number): Parser<Uint8Array> {
  return yield { bytes, isExact: false };
}

/** Runs a parser on a stream, regardless of chunk boundaries. */
export class StreamParser<R> {
  readonly #parser: Parser<R | undefined>;
  #step: IteratorResult<Want, R | undefined>;
  /** The first bytes of an exact number that has not arrived completely. */
  #collected = NOTHING;
  #count = 0;

  constructor(parser: Parser<R>) {
    this.#parser = parser;
    this.#step = parser.next(NOTHING);
  }

  /** Whether the parser has returned, thrown or was stopped. */
  get done(): boolean {
    return this.#step.done === true;
  }

  /**
   * Parses the next chunk. Returns the result of the parser when it ends; the rest of the stream is
   * ignored.
   *
   * @throws {WireError} if the stream is malformed; the rest of it is ignored.
   */
  read(chunk: Uint8Array): R | undefined {
    let rest = chunk;
    while (rest.length > 0) {
      const step = this.#step;
      if (step.done) return undefined;
      const { bytes, isExact } = step.value;
      const piece = rest.subarray(0, bytes - this.#count);
      rest = rest.subarray(piece.length);
      const wanted = isExact ? this.#collect(piece, bytes) : piece;
      if (wanted === undefined) continue;
      const next = this.#step = this.#parser.next(wanted);
      if (next.done) return next.value;
    }
    return undefined;
  }

  /** Stops the parser, which runs its `finally` blocks. */
  stop(): void {
    this.#step = this.#parser.return(undefined);
    this.#collected = NOTHING;
  }

  /** Adds a piece, and returns the wanted bytes when they are complete. They are not kept. */
  #collect(piece: Uint8Array, bytes: number): Uint8Array | undefined {
    if (piece.length === bytes) return piece;
    if (this.#count === 0) this.#collected = new Uint8Array(bytes);
    const collected = this.#collected;
    collected.set(piece, this.#count);
    this.#count += piece.length;
    if (this.#count < bytes) return undefined;
    this.#count = 0;
    this.#collected = NOTHING;
    return collected;
  }
}

/**
 * Receives the frames of one direction of an HTTP/2 connection. Bytes are views that are valid only
 * during the call.
 */
export interface FrameSink {
  /** Called for every complete header block, because HPACK has state per connection. */
  headers(streamId: number, block: Uint8Array, endStream: boolean): void;
  data(streamId: number, piece: Uint8Array): void;
  /** Called after the last data of a stream. */
  dataEnded?(streamId: number): void;
  reset(streamId: number): void;
}

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PUSH_PROMISE = 5;
const CONTINUATION = 9;

const END_STREAM = 0x01;
const ACK = 0x01;
const END_HEADERS = 0x04;
const PADDED = 0x08;
const PRIORITY = 0x20;

const HEADER_BYTES = 9;
const PRIORITY_BYTES = 5;
const RST_STREAM_BYTES = 4;
/** Limit of a header block; most gRPC servers accept 8 KiB. */
const MAX_BLOCK_BYTES = 256 * 1_024;
const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** The header of a frame. */
interface Frame {
  /** Of the payload. */
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
}

/**
 * Splits one direction of an HTTP/2 connection into frames (RFC 9113, sections 3.4, 4.1 and 6).
 * Other frames are skipped. SETTINGS are not needed: header blocks
 * contain the size of the HPACK table, and the peers enforce the rest.
 *
 * @param options `preface`: the direction starts with the connection preface (the client's).
 */
export function* readFrames(
  sink: FrameSink,
  { preface }: { readonly preface: boolean },
): Parser<never> {
  for (let seen = 0; preface && seen < PREFACE.length;) {
    for (const byte of yield* upTo(PREFACE.length - seen)) {
      if (byte !== PREFACE[seen++]) throw new WireError("not-http2");
    }
  }
  // Both peers start with SETTINGS; anything else is another protocol.
  const first = yield* readFrame();
  if (first.type !== SETTINGS || first.flags & ACK) throw new WireError("not-http2");
  yield* skip(first.length);
  while (true) {
    const frame = yield* readFrame();
    switch (frame.type) {
      case DATA:
        yield* readData(frame, sink);
        break;
      case HEADERS:
        yield* readHeaders(frame, sink);
        break;
      case RST_STREAM:
        if (frame.streamId === 0 || frame.length !== RST_STREAM_BYTES) throw malformed();
        sink.reset(frame.streamId);
        yield* skip(frame.length);
        break;
      case CONTINUATION: // without HEADERS
      case PUSH_PROMISE: // gRPC clients do not allow it
        throw malformed();
      default:
        yield* skip(frame.length);
    }
  }
}

function* readFrame(): Parser<Frame> {
  const { buffer, byteOffset } = yield* exactly(HEADER_BYTES);
  const header = new DataView(buffer, byteOffset, HEADER_BYTES);
  return {
    length: header.getUint32(0) >>> 8,
    type: header.getUint8(3),
    flags: header.getUint8(4),
    streamId: header.getUint32(5) & 0x7fff_ffff,
  };
}

function* skip(length: number): Parser<void> {
  for (let left = length; left > 0;) left -= (yield* upTo(left)).length;
}

function* readData({ length, flags, streamId }: Frame, sink: FrameSink): Parser<void> {
  if (streamId === 0) throw malformed();
  let left = length;
  let padding = 0;
  if (flags & PADDED) {
    if (length === 0) throw malformed();
    [padding = 0] = yield* exactly(1);
    left -= 1 + padding;
    if (left < 0) throw malformed();
  }
  while (left > 0) {
    const piece = yield* upTo(left);
    left -= piece.length;
    sink.data(streamId, piece);
  }
  if (flags & END_STREAM) sink.dataEnded?.(streamId);
  yield* skip(padding);
}

/** Reads a HEADERS frame and the CONTINUATION frames of its header block. */
function* readHeaders(frame: Frame, sink: FrameSink): Parser<void> {
  const { streamId, flags } = frame;
  if (streamId === 0) throw malformed();
  const endStream = (flags & END_STREAM) !== 0;
  if (frame.length > MAX_BLOCK_BYTES) throw new WireError("headers-too-large");
  const fragment = fragmentOf(flags, yield* exactly(frame.length));
  if (flags & END_HEADERS) return sink.headers(streamId, fragment, endStream);
  const store = new ArrayBuffer(0, { maxByteLength: MAX_BLOCK_BYTES });
  const block = new Uint8Array(store); // grows with the store
  const append = (bytes: Uint8Array) => {
    const { length } = block;
    store.resize(length + bytes.length);
    block.set(bytes, length);
  };
  append(fragment);
  for (let isLast = false; !isLast;) {
    const next = yield* readFrame();
    if (next.type !== CONTINUATION || next.streamId !== streamId) throw malformed();
    if (block.length + next.length > MAX_BLOCK_BYTES) throw new WireError("headers-too-large");
    append(yield* exactly(next.length));
    isLast = (next.flags & END_HEADERS) !== 0;
  }
  sink.headers(streamId, block, endStream);
}

/** Returns the payload of a HEADERS frame without padding and priority. */
function fragmentOf(flags: number, payload: Uint8Array): Uint8Array {
  const isPadded = (flags & PADDED) !== 0;
  const padding = isPadded ? payload[0] ?? 0 : 0;
  const start = (isPadded ? 1 : 0) + (flags & PRIORITY ? PRIORITY_BYTES : 0);
  const end = payload.length - padding;
  if (start > end) throw malformed();
  return payload.subarray(start, end);
}

function malformed(): WireError {
  return new WireError("malformed-frame");
}
