import { WireError } from "./notes.ts";

/**
 * Receives the frames of one direction of an HTTP/2 connection. Bytes are views that are valid only
 * during the call.
 */
export interface FrameSink {
  /** Called for every complete header block, because HPACK has state per connection. */
  headers(streamId: number, block: Uint8Array, endStream: boolean): void;
  /** Returns whether to read the data of a stream; otherwise it is skipped. */
  wantsData(streamId: number): boolean;
  data(streamId: number, piece: Uint8Array): void;
  /** Called after the last data of a stream that is read. */
  dataEnded(streamId: number): void;
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
/** Limit of a header block; most gRPC servers accept 8 KiB. */
const MAX_BLOCK_BYTES = 256 * 1_024;
const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** The part of the stream that the next byte belongs to. */
type State = "preface" | "frame-header" | "payload" | "pad-length" | "data" | "skip";

/**
 * Splits one direction of an HTTP/2 connection into frames, regardless of chunk boundaries (RFC 9113,
 * sections 3.4, 4.1 and 6). Frames without header blocks or wanted data are skipped. SETTINGS are not
 * needed: header blocks contain the size of the HPACK table, and the peers enforce the rest.
 */
export class FrameReader {
  readonly #sink: FrameSink;
  #state: State;
  /** Bytes of the preface that were read. */
  #prefaceSeen = 0;
  #first = true;
  readonly #header = new DataView(new ArrayBuffer(HEADER_BYTES));
  #headerSeen = 0;
  #type = 0;
  #flags = 0;
  #streamId = 0;
  /** Remaining bytes of the payload; of DATA frames without the padding. */
  #left = 0;
  #padding = 0;
  /** A payload that arrives in several chunks. */
  readonly #payload = new ByteBuffer();
  /** A header block in several frames. Only the first one has the END_STREAM flag. */
  readonly #block = new ByteBuffer();
  #open: { readonly streamId: number; readonly endStream: boolean } | undefined;

  /** @param options `preface`: the direction starts with the connection preface (the client's). */
  constructor(sink: FrameSink, { preface }: { readonly preface: boolean }) {
    this.#sink = sink;
    this.#state = preface ? "preface" : "frame-header";
  }

  /**
   * Reads the next chunk.
   *
   * @throws {WireError} if the stream is malformed; the reader must not be used any more.
   */
  read(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) at = this.#step(chunk, at);
  }

  #step(chunk: Uint8Array, at: number): number {
    switch (this.#state) {
      case "preface":
        return this.#readPreface(chunk, at);
      case "frame-header":
        return this.#readHeader(chunk, at);
      case "payload":
        return this.#readPayload(chunk, at);
      case "pad-length":
        this.#padding = chunk[at] ?? 0;
        this.#startData(this.#left - 1 - this.#padding);
        return at + 1;
      case "data":
        return this.#readData(chunk, at);
      case "skip": {
        const end = Math.min(chunk.length, at + this.#left);
        this.#left -= end - at;
        if (this.#left === 0) this.#state = "frame-header";
        return end;
      }
      default: {
        const unknown: never = this.#state;
        return unknown;
      }
    }
  }

  #readPreface(chunk: Uint8Array, start: number): number {
    let at = start;
    while (at < chunk.length && this.#prefaceSeen < PREFACE.length) {
      if (chunk[at++] !== PREFACE[this.#prefaceSeen++]) throw new WireError("not-http2");
    }
    if (this.#prefaceSeen === PREFACE.length) this.#state = "frame-header";
    return at;
  }

  #readHeader(chunk: Uint8Array, at: number): number {
    const wanted = HEADER_BYTES - this.#headerSeen;
    const end = Math.min(chunk.length, at + wanted);
    // Byte by byte, which is faster than a view of nine bytes.
    for (let i = at; i < end; i++) this.#header.setUint8(this.#headerSeen++, chunk[i] ?? 0);
    if (this.#headerSeen === HEADER_BYTES) {
      this.#headerSeen = 0;
      this.#startFrame();
    }
    return end;
  }

  #startFrame(): void {
    const type = this.#type = this.#header.getUint8(3);
    const flags = this.#flags = this.#header.getUint8(4);
    this.#left = this.#header.getUint32(0) >>> 8;
    this.#streamId = this.#header.getUint32(5) & 0x7fff_ffff;
    this.#padding = 0;
    if (this.#first) {
      // Both peers start with SETTINGS; anything else is another protocol.
      if (type !== SETTINGS || flags & ACK) throw new WireError("not-http2");
      this.#first = false;
    }
    const streamId = this.#streamId;
    if (this.#open !== undefined) {
      if (type !== CONTINUATION || streamId !== this.#open.streamId) throw malformed();
    } else if (type === CONTINUATION) throw malformed();
    switch (type) {
      case DATA:
        return this.#startDataFrame();
      case PUSH_PROMISE: // gRPC clients do not allow it
        throw malformed();
      case HEADERS:
      case CONTINUATION:
        if (streamId === 0) throw malformed();
        if (this.#left + this.#block.length > MAX_BLOCK_BYTES) {
          throw new WireError("headers-too-large");
        }
        if (this.#left === 0) return this.#endPayload(new Uint8Array(0));
        this.#state = "payload";
        return;
      case RST_STREAM:
        if (streamId === 0 || this.#left !== 4) throw malformed();
        this.#sink.reset(streamId);
        return this.#skip();
      default:
        return this.#skip();
    }
  }

  #skip(): void {
    this.#state = this.#left === 0 ? "frame-header" : "skip";
  }

  #startDataFrame(): void {
    if (this.#streamId === 0) throw malformed();
    if (!this.#sink.wantsData(this.#streamId)) return this.#skip();
    if (!(this.#flags & PADDED)) return this.#startData(this.#left);
    if (this.#left === 0) throw malformed();
    this.#state = "pad-length";
  }

  #startData(length: number): void {
    if (length < 0) throw malformed();
    this.#left = length;
    this.#state = "data";
    if (length === 0) this.#endData();
  }

  #readData(chunk: Uint8Array, at: number): number {
    const end = Math.min(chunk.length, at + this.#left);
    this.#left -= end - at;
    this.#sink.data(this.#streamId, chunk.subarray(at, end));
    if (this.#left === 0) this.#endData();
    return end;
  }

  #endData(): void {
    if (this.#flags & END_STREAM) this.#sink.dataEnded(this.#streamId);
    this.#left = this.#padding;
    this.#skip();
  }

  #readPayload(chunk: Uint8Array, at: number): number {
    const end = Math.min(chunk.length, at + this.#left);
    const piece = chunk.subarray(at, end);
    this.#left -= piece.length;
    if (this.#left === 0 && this.#payload.length === 0) this.#endPayload(piece);
    else {
      this.#payload.append(piece);
      if (this.#left > 0) return end;
      this.#endPayload(this.#payload.view());
      this.#payload.clear();
    }
    return end;
  }

  #endPayload(payload: Uint8Array): void {
    this.#state = "frame-header";
    const fragment = this.#fragment(payload);
    const isLast = (this.#flags & END_HEADERS) !== 0;
    const { streamId, endStream } = this.#open ??
      { streamId: this.#streamId, endStream: (this.#flags & END_STREAM) !== 0 };
    if (this.#open === undefined && isLast) {
      return this.#sink.headers(streamId, fragment, endStream);
    }
    this.#open = isLast ? undefined : { streamId, endStream };
    this.#block.append(fragment);
    if (!isLast) return;
    this.#sink.headers(streamId, this.#block.view(), endStream);
    this.#block.clear();
  }

  /** Returns the header block fragment of a payload. */
  #fragment(payload: Uint8Array): Uint8Array {
    if (this.#type === CONTINUATION) return payload;
    const padded = (this.#flags & PADDED) !== 0;
    const padding = padded ? payload[0] ?? 0 : 0;
    const start = (padded ? 1 : 0) + (this.#flags & PRIORITY ? PRIORITY_BYTES : 0);
    const end = payload.length - padding;
    if (start > end) throw malformed();
    return payload.subarray(start, end);
  }
}

function malformed(): WireError {
  return new WireError("malformed-frame");
}

const INITIAL_BYTES = 1_024;
/** Larger buffers are released after use. */
const MAX_KEPT_BYTES = 16 * 1_024;

/** A growing buffer for bytes that arrive in pieces. */
export class ByteBuffer {
  #store = new Uint8Array(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(piece: Uint8Array): void {
    const needed = this.#length + piece.length;
    if (needed > this.#store.length) {
      const larger = new Uint8Array(Math.max(needed, this.#store.length * 2, INITIAL_BYTES));
      larger.set(this.#store.subarray(0, this.#length));
      this.#store.fill(0);
      this.#store = larger;
    }
    this.#store.set(piece, this.#length);
    this.#length = needed;
  }

  /** Returns a view that is valid until the next call. */
  view(): Uint8Array {
    return this.#store.subarray(0, this.#length);
  }

  /** Removes the bytes and overwrites them, because they may be secret. */
  clear(): void {
    this.#store.fill(0, 0, this.#length);
    this.#length = 0;
    if (this.#store.length > MAX_KEPT_BYTES) this.#store = new Uint8Array(0);
  }
}
