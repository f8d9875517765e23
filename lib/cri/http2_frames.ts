import { GatheredBytes } from "./gathered_bytes.ts";
import { WireError } from "./wire_error.ts";

/** What comes out of one direction of an HTTP/2 connection. Views are good during the call only. */
export interface FrameSink {
  /** A whole header block: every one of them, for HPACK keeps state over the connection. */
  headers(streamId: number, block: Uint8Array, endStream: boolean): void;
  /** The header block of a pushed request, which belongs to the same HPACK state. */
  promised(block: Uint8Array): void;
  /** Whether the bodies of this stream are wanted; if not, they are skipped by their length. */
  wantsData(streamId: number): boolean;
  data(streamId: number, piece: Uint8Array): void;
  /** The last of the data of a wanted stream was handed over. */
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
const PROMISED_ID_BYTES = 4;
/** Header blocks beyond this are not followed; gRPC servers take 16 MiB at most, mostly 8 KiB. */
const MAX_BLOCK_BYTES = 256 * 1_024;
const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** What the next byte belongs to. */
type Phase = "preface" | "frame-header" | "payload" | "pad-length" | "data" | "skip";

/**
 * Cuts one direction of an HTTP/2 connection into frames, wherever the chunks were cut (RFC 9113,
 * sections 3.4, 4.1 and 6). Frames that carry neither header blocks nor wanted data are skipped by
 * their length. SETTINGS are not needed: the encoder of a header block says in the block itself
 * how large its table is, and the peers hold each other to the rest.
 */
export class FrameReader {
  readonly #sink: FrameSink;
  #jitter: Phase;
  /** How much of the preface was seen. */
  #prefaceSeen = 0;
  #first = true;
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerSeen = 0;
  #type = 0;
  #flags = 0;
  #streamId = 0;
  /** Bytes of the payload that are still to come, in data without the padding. */
  #left = 0;
  #padding = 0;
  /** A payload that comes in several chunks. */
  readonly #payload = new GatheredBytes();
  /** A header block that comes in several frames, and who it is for. */
  readonly #block = new GatheredBytes();
  #open: { readonly streamId: number; readonly deliver: (block: Uint8Array) => void } | undefined;

  /** `preface`: this is the client's direction, which opens with the connection preface. */
  constructor(sink: FrameSink, { preface }: { readonly preface: boolean }) {
    this.#sink = sink;
    this.#jitter = preface ? "preface" : "frame-header";
  }

  /**
   * Reads on.
   *
   * @throws {WireError} when the thread is lost; the reader is of no use then.
   */
  read(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) at = this.#step(chunk, at);
  }

  #step(chunk: Uint8Array, at: number): number {
    switch (this.#jitter) {
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
        if (this.#left === 0) this.#jitter = "frame-header";
        return end;
      }
      default: {
        const unknown: never = this.#jitter;
        return unknown;
      }
    }
  }

  #readPreface(chunk: Uint8Array, start: number): number {
    let at = start;
    while (at < chunk.length && this.#prefaceSeen < PREFACE.length) {
      if (chunk[at++] !== PREFACE[this.#prefaceSeen++]) throw new WireError("not-http2");
    }
    if (this.#prefaceSeen === PREFACE.length) this.#jitter = "frame-header";
    return at;
  }

  #readHeader(chunk: Uint8Array, at: number): number {
    const wanted = HEADER_BYTES - this.#headerSeen;
    const end = Math.min(chunk.length, at + wanted);
    // Byte by byte: a view of nine bytes costs more than they do.
    for (let i = at; i < end; i++) this.#header[this.#headerSeen++] = chunk[i] ?? 0;
    if (this.#headerSeen === HEADER_BYTES) {
      this.#headerSeen = 0;
      this.#startFrame();
    }
    return end;
  }

  #startFrame(): void {
    const [a = 0, b = 0, c = 0, type = 0, flags = 0, s = 0, t = 0, u = 0, v = 0] = this.#header;
    this.#left = a << 16 | b << 8 | c;
    this.#type = type;
    this.#flags = flags;
    this.#streamId = (s & 0x7f) << 24 | t << 16 | u << 8 | v;
    this.#padding = 0;
    if (this.#first) {
      // Both sides open with SETTINGS; anything else is another protocol.
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
      case HEADERS:
      case PUSH_PROMISE:
      case CONTINUATION:
        if (streamId === 0) throw malformed();
        if (this.#left + this.#block.length > MAX_BLOCK_BYTES) {
          throw new WireError("headers-too-large");
        }
        if (this.#left === 0) return this.#endPayload(new Uint8Array(0));
        this.#jitter = "payload";
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
    this.#jitter = this.#left === 0 ? "frame-header" : "skip";
  }

  #startDataFrame(): void {
    if (this.#streamId === 0) throw malformed();
    if (!this.#sink.wantsData(this.#streamId)) return this.#skip();
    if (!(this.#flags & PADDED)) return this.#startData(this.#left);
    if (this.#left === 0) throw malformed();
    this.#jitter = "pad-length";
  }

  #startData(length: number): void {
    if (length < 0) throw malformed();
    this.#left = length;
    this.#jitter = "data";
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
    this.#jitter = "frame-header";
    const fragment = this.#fragment(payload);
    const whole = (this.#flags & END_HEADERS) !== 0;
    if (this.#open === undefined) {
      const deliver = this.#deliverer();
      if (whole) return deliver(fragment);
      this.#open = { streamId: this.#streamId, deliver };
    }
    this.#block.append(fragment);
    if (!whole) return;
    const { deliver } = this.#open;
    this.#open = undefined;
    deliver(this.#block.view());
    this.#block.clear();
  }

  /** Who the block is for; END_STREAM stands in its first frame only. */
  #deliverer(): (block: Uint8Array) => void {
    if (this.#type === PUSH_PROMISE) return (block) => this.#sink.promised(block);
    const streamId = this.#streamId;
    const endStream = (this.#flags & END_STREAM) !== 0;
    return (block) => this.#sink.headers(streamId, block, endStream);
  }

  /** The part of a payload that belongs to the header block. */
  #fragment(payload: Uint8Array): Uint8Array {
    if (this.#type === CONTINUATION) return payload;
    const padded = (this.#flags & PADDED) !== 0;
    const padding = padded ? payload[0] ?? 0 : 0;
    let start = padded ? 1 : 0;
    if (this.#type === PUSH_PROMISE) start += PROMISED_ID_BYTES;
    else if (this.#flags & PRIORITY) start += PRIORITY_BYTES;
    const end = payload.length - padding;
    if (start > end) throw malformed();
    return payload.subarray(start, end);
  }
}

function malformed(): WireError {
  return new WireError("malformed-frame");
}
