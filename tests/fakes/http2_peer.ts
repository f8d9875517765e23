import { HUFFMAN_CODE_LENGTHS } from "../../lib/cri/hpack.ts";
import { STATIC_TABLE } from "../../lib/cri/hpack.ts";

/** Encoding of header fields (RFC 7541, section 6.2). */
export interface FieldStyle {
  readonly huffman: boolean;
  readonly literal: "incremental" | "without-indexing" | "never-indexed";
  /** Whether to refer to fields in the tables. */
  readonly indexed: boolean;
}

type Field = readonly [name: string, value: string];

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

export const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Concatenates pieces. */
export function joined(...pieces: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Encodes a frame of any length and with any flags. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array | readonly number[] = [],
): Uint8Array {
  const length = payload.length;
  return joined(
    [length >> 16 & 255, length >> 8 & 255, length & 255, type, flags],
    [streamId >> 24 & 127, streamId >> 16 & 255, streamId >> 8 & 255, streamId & 255],
    payload,
  );
}

/** Splits bytes at the given fractions of their length. */
export function cut(bytes: Uint8Array, shares: readonly number[]): Uint8Array[] {
  const places = shares.map((share) => Math.floor(share * bytes.length)).sort((a, b) => a - b);
  return [0, ...places].map((start, i) => bytes.subarray(start, places[i] ?? bytes.length));
}

/** Encodes a header block in HEADERS and CONTINUATION frames. */
export function headerFrames(
  streamId: number,
  block: Uint8Array,
  options: {
    readonly endStream?: boolean;
    readonly padding?: number;
    readonly priority?: boolean;
    readonly cuts?: readonly number[];
  } = {},
): Uint8Array {
  const { endStream = false, padding = 0, priority = false, cuts = [] } = options;
  const parts = cut(block, cuts);
  return joined(...parts.map((part, i) => {
    const last = i === parts.length - 1 ? FLAG.endHeaders : 0;
    if (i > 0) return frame(FRAME.continuation, last, streamId, part);
    const flags = last | (endStream ? FLAG.endStream : 0) | (padding > 0 ? FLAG.padded : 0) |
      (priority ? FLAG.priority : 0);
    return frame(
      FRAME.headers,
      flags,
      streamId,
      joined(
        padding > 0 ? [padding] : [],
        priority ? [0, 0, 0, 1, 15] : [],
        part,
        new Uint8Array(padding),
      ),
    );
  }));
}

/** Encodes a DATA frame. */
export function dataFrame(
  streamId: number,
  bytes: Uint8Array,
  { endStream = false, padding = 0 }: { readonly endStream?: boolean; readonly padding?: number } =
    {},
): Uint8Array {
  const flags = (endStream ? FLAG.endStream : 0) | (padding > 0 ? FLAG.padded : 0);
  const before = padding > 0 ? [padding] : [];
  return frame(FRAME.data, flags, streamId, joined(before, bytes, new Uint8Array(padding)));
}

/** Encodes a gRPC message with its prefix. */
export function grpcMessage(message: Uint8Array, compressed = 0): Uint8Array {
  const length = message.length;
  const prefix = [compressed, length >>> 24, length >> 16 & 255, length >> 8 & 255, length & 255];
  return joined(prefix, message);
}

/** Encodes header blocks with a dynamic table. Texts have one byte per character. */
export class HpackEncoder {
  /** Newest first. */
  #table: Field[] = [];
  #maxBytes = 4_096;

  /** Resizes the table, and returns the instruction for the start of the next block. */
  resize(maxBytes: number): Uint8Array {
    this.#maxBytes = maxBytes;
    this.#evict();
    return Uint8Array.from(integer(maxBytes, 5, 0x20));
  }

  encode(fields: readonly Field[], style: FieldStyle): Uint8Array {
    return joined(...fields.map((field) => this.#field(field, style)));
  }

  #field([name, value]: Field, { huffman, literal, indexed }: FieldStyle): number[] {
    const known: Field[] = [
      ...STATIC_TABLE.map((field): Field => [field.name, field.value]),
      ...this.#table,
    ];
    const whole = known.findIndex((field) => field[0] === name && field[1] === value);
    if (indexed && whole >= 0) return integer(whole + 1, 7, 0x80);
    const named = indexed ? known.findIndex((field) => field[0] === name) + 1 : 0;
    const text = named > 0 ? [] : string(name, huffman);
    const [bits, first] = {
      "incremental": [6, 0x40] as const,
      "without-indexing": [4, 0] as const,
      "never-indexed": [4, 0x10] as const,
    }[literal];
    if (literal === "incremental") {
      this.#table.unshift([name, value]);
      this.#evict();
    }
    return [...integer(named, bits, first), ...text, ...string(value, huffman)];
  }

  #evict(): void {
    const size = () => this.#table.reduce((sum, [n, v]) => sum + n.length + v.length + 32, 0);
    while (size() > this.#maxBytes) this.#table.pop();
  }
}

function integer(value: number, bits: number, first: number): number[] {
  const full = 2 ** bits - 1;
  if (value < full) return [first | value];
  const bytes = [first | full];
  let left = value - full;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push(left % 128 | 128);
  return [...bytes, left];
}

function string(text: string, huffman: boolean): number[] {
  const bytes = Array.from(text, (character) => character.charCodeAt(0));
  const coded = huffman ? encodeHuffman(bytes) : bytes;
  return [...integer(coded.length, 7, huffman ? 0x80 : 0), ...coded];
}

/** The canonical Huffman code, a string of bits per symbol. */
const CODES: readonly string[] = (() => {
  const codes: string[] = [];
  let code = 0n;
  for (let length = 1; length <= 30; length++) {
    code <<= 1n;
    for (const [symbol, wanted] of HUFFMAN_CODE_LENGTHS.entries()) {
      if (wanted === length) codes[symbol] = (code++).toString(2).padStart(length, "0");
    }
  }
  return codes;
})();

/** Huffman-encodes bytes, padded with ones. */
export function encodeHuffman(bytes: Iterable<number>): number[] {
  const bits = Array.from(bytes, (byte) => CODES[byte]).join("");
  return (bits.match(/.{1,8}/g) ?? []).map((part) => parseInt(part.padEnd(8, "1"), 2));
}

/** Returns the code of a symbol as a string of bits. */
export function huffmanBits(symbol: number): string {
  return CODES[symbol] ?? "";
}
