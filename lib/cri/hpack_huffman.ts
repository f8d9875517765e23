/**
 * How many bits the code of each byte has, byte 0 first, and the end mark (RFC 7541, appendix B).
 * The code is canonical: codes of one length follow each other in the order of the bytes, and
 * shorter ones come first, so the lengths tell the codes.
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
const END_MARK = 256;
const MAX_CODE_LENGTH = 30;

/** The codes of one length: they run from `firstCode`, their symbols from `firstLocation`. */
interface CodesOfLength {
  readonly firstCode: number;
  readonly count: number;
  readonly firstLocation: number;
}

/** Symbols in the order of their codes, and where each length begins. */
function canonicalCode(): { readonly symbols: Uint16Array; readonly byLength: CodesOfLength[] } {
  const order = HUFFMAN_CODE_LENGTHS.map((length, symbol) => ({ length, symbol }))
    .sort((a, b) => a.length - b.length || a.symbol - b.symbol);
  const byLength: CodesOfLength[] = [{ firstCode: 0, count: 0, firstLocation: 0 }];
  let code = 0;
  let place = 0;
  for (let length = 1; length <= MAX_CODE_LENGTH; length++) {
    code *= 2;
    const count = HUFFMAN_CODE_LENGTHS.filter((one) => one === length).length;
    byLength.push({ firstCode: code, count, firstLocation: place });
    code += count;
    place += count;
  }
  return { symbols: Uint16Array.from(order, ({ symbol }) => symbol), byLength };
}

const { symbols: SYMBOLS, byLength: BY_LENGTH } = canonicalCode();

/**
 * Decodes a Huffman-coded string, one character a byte. Undefined when it holds the end mark, or
 * does not end with less than a byte of ones (RFC 7541, section 5.2).
 */
export function decodeHuffman(bytes: Uint8Array): string | undefined {
  const text: number[] = [];
  let code = 0;
  let length = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + (byte >> bit & 1);
      length++;
      const codes = BY_LENGTH[length];
      if (codes === undefined) return undefined;
      const place = code - codes.firstCode;
      if (place >= codes.count) continue;
      const symbol = SYMBOLS[codes.firstLocation + place] ?? END_MARK;
      if (symbol === END_MARK) return undefined;
      text.push(symbol);
      code = 0;
      length = 0;
    }
  }
  if (length > 7 || code !== 2 ** length - 1) return undefined;
  return latin1(text);
}

const PIECE = 4_096;

/** One character a byte; in pieces, for a call takes so many arguments only. */
export function latin1(bytes: Uint8Array | readonly number[]): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += PIECE) {
    text += String.fromCharCode(...bytes.slice(at, at + PIECE));
  }
  return text;
}
