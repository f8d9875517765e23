import { WireError } from "./http2_frames.ts";

/** One header field, with one character per byte. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

/** Names of the fields with index 17 to 61, whose values are empty. */
const NAMES_ONLY = `
  accept-language accept-ranges accept access-control-allow-origin age allow authorization
  cache-control content-disposition content-encoding content-language content-length
  content-location content-range content-type cookie date etag expect expires from host if-match
  if-modified-since if-none-match if-range if-unmodified-since last-modified link location
  max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after server
  set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate
`.trim().split(/\s+/);

/** RFC 7541, appendix A. The field with index 1 is at position 0. */
export const STATIC_TABLE: readonly HeaderField[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ...NAMES_ONLY.map((name) => [name]),
].map(([name = "", value = ""]) => ({ name, value }));

/**
 * Length in bits of the Huffman code of each byte and of EOS (RFC 7541, appendix B). The code is
 * canonical, so it is fully determined by the lengths.
 */
// deno-fmt-ignore
export const HUFFMAN_CODE_LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
/** End of string; must not occur in a string. */
const EOS = 256;
const MAX_CODE_LENGTH = 30;

/** The codes of one length: `count` consecutive codes with consecutive symbols. */
interface CodesOfLength {
  readonly firstCode: number;
  readonly count: number;
  readonly firstIndex: number;
}

/** Returns the symbols in the order of their codes, and the codes of each length. */
function canonicalCode(): { readonly symbols: Uint16Array; readonly byLength: CodesOfLength[] } {
  const order = HUFFMAN_CODE_LENGTHS.map((length, symbol) => ({ length, symbol }))
    .sort((a, b) => a.length - b.length || a.symbol - b.symbol);
  const byLength: CodesOfLength[] = [];
  let code = 0;
  let index = 0;
  for (let length = 0; length <= MAX_CODE_LENGTH; length++) {
    code *= 2;
    const count = HUFFMAN_CODE_LENGTHS.filter((one) => one === length).length;
    byLength.push({ firstCode: code, count, firstIndex: index });
    code += count;
    index += count;
  }
  return { symbols: Uint16Array.from(order, ({ symbol }) => symbol), byLength };
}

const { symbols: SYMBOLS, byLength: BY_LENGTH } = canonicalCode();

/**
 * Decodes a Huffman-coded string, one character per byte. Returns undefined if it contains EOS or its
 * padding is not at most 7 one bits (RFC 7541, section 5.2).
 */
export function decodeHuffman(bytes: Uint8Array): string | undefined {
  let text = "";
  let code = 0;
  let length = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + (byte >> bit & 1);
      length++;
      const codes = BY_LENGTH[length];
      if (codes === undefined) return undefined;
      const offset = code - codes.firstCode;
      if (offset >= codes.count) continue;
      const symbol = SYMBOLS[codes.firstIndex + offset] ?? EOS;
      if (symbol === EOS) return undefined;
      text += String.fromCharCode(symbol);
      code = 0;
      length = 0;
    }
  }
  if (length > 7 || code !== 2 ** length - 1) return undefined;
  return text;
}

/** Decodes bytes to one character each. */
export function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** Initial table size (RFC 9113, section 6.5.2). */
const DEFAULT_TABLE_BYTES = 4_096;
/** Larger tables are rejected. gRPC implementations keep the default. */
const MAX_TABLE_BYTES = 64 * 1_024;
/** Size of a field in addition to its text (RFC 7541, section 4.1). */
const FIELD_OVERHEAD = 32;
/** Value of the lowest bit of an integer's last byte. Longer integers are rejected: none is needed. */
const MAX_SCALE = 2 ** 28;

/**
 * Decodes the header blocks of one direction of a connection, in order (RFC 7541). Every block must
 * be decoded, because it may change the dynamic table that later blocks refer to.
 */
export class HpackDecoder {
  /** Oldest first. */
  #fields: HeaderField[] = [];
  #bytes = 0;
  #maxBytes = DEFAULT_TABLE_BYTES;
  #block: Uint8Array = new Uint8Array(0);
  #at = 0;

  /**
   * Decodes a complete block, and calls `found` for each field.
   *
   * @throws {WireError} if it is malformed; the decoder must not be used any more.
   */
  decode(block: Uint8Array, found: (name: string, value: string) => void): void {
    this.#block = block;
    this.#at = 0;
    let mayResize = true;
    while (this.#at < block.length) {
      const first = block[this.#at] ?? 0;
      if ((first & 0xe0) === 0x20) {
        // Only allowed at the start of a block (section 4.2).
        if (!mayResize) throw malformed();
        this.#resize(this.#integer(5));
        continue;
      }
      mayResize = false;
      const { name, value } = this.#field(first);
      found(name, value);
    }
    this.#block = new Uint8Array(0);
  }

  /** Returns the dynamic table, newest first, and its size in bytes. For tests. */
  table(): { readonly fields: readonly HeaderField[]; readonly bytes: number } {
    return { fields: this.#fields.toReversed(), bytes: this.#bytes };
  }

  /** Section 6: an indexed field, a literal that is added to the table, or one that is not. */
  #field(first: number): HeaderField {
    if (first & 0x80) return this.#indexed(this.#integer(7));
    const isAdded = (first & 0x40) !== 0;
    const index = this.#integer(isAdded ? 6 : 4);
    const name = index === 0 ? this.#string() : this.#indexed(index).name;
    const field = { name, value: this.#string() };
    if (isAdded) this.#add(field);
    return field;
  }

  #indexed(index: number): HeaderField {
    const field = index <= STATIC_TABLE.length
      ? STATIC_TABLE[index - 1]
      : this.#fields[this.#fields.length - (index - STATIC_TABLE.length)];
    if (field === undefined) throw malformed();
    return field;
  }

  #add(field: HeaderField): void {
    this.#fields.push(field);
    this.#bytes += sizeOf(field);
    this.#evict();
  }

  #resize(maxBytes: number): void {
    if (maxBytes > MAX_TABLE_BYTES) throw new WireError("headers-too-large");
    this.#maxBytes = maxBytes;
    this.#evict();
  }

  #evict(): void {
    let removed = 0;
    while (this.#bytes > this.#maxBytes) {
      const oldest = this.#fields[removed++];
      if (oldest === undefined) break;
      this.#bytes -= sizeOf(oldest);
    }
    if (removed > 0) this.#fields.splice(0, removed);
  }

  /** Section 5.1: an integer with a prefix of `bits` bits. */
  #integer(bits: number): number {
    const full = (1 << bits) - 1;
    let value = this.#byte() & full;
    if (value < full) return value;
    for (let scale = 1; scale <= MAX_SCALE; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw malformed();
  }

  /** Section 5.2. */
  #string(): string {
    const coded = ((this.#block[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    const end = this.#at + length;
    if (end > this.#block.length) throw malformed();
    const bytes = this.#block.subarray(this.#at, end);
    this.#at = end;
    const text = coded ? decodeHuffman(bytes) : latin1(bytes);
    if (text === undefined) throw malformed();
    return text;
  }

  #byte(): number {
    const byte = this.#block[this.#at++];
    if (byte === undefined) throw malformed();
    return byte;
  }
}

function sizeOf({ name, value }: HeaderField): number {
  return name.length + value.length + FIELD_OVERHEAD;
}

function malformed(): WireError {
  return new WireError("malformed-headers");
}
