/** One length-delimited field of a message: a string or a nested message. */
export interface WireField {
  readonly number: number;
  readonly bytes: Uint8Array;
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const START_GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

const MAX_VARINT_BYTES = 10;
const MAX_FIELD_NUMBER = 2 ** 29 - 1;
const MAX_GROUP_DEPTH = 100;
/** A message of 1 MiB could contain half a million empty fields. */
const MAX_FIELDS = 65_536;

/**
 * Returns the length-delimited fields of a protobuf message in order, as views. Skips fields of other
 * wire types and groups. Returns undefined if the message is truncated or malformed.
 */
export function readFields(message: Uint8Array): readonly WireField[] | undefined {
  const cursor = new Cursor(message);
  const fields: WireField[] = [];
  const groups: number[] = [];
  while (!cursor.atEnd) {
    const key = cursor.varint();
    if (key === undefined) return undefined;
    const number = Math.floor(key / 8);
    if (number < 1 || number > MAX_FIELD_NUMBER) return undefined;
    switch (key % 8) {
      case VARINT:
        if (cursor.varint() === undefined) return undefined;
        break;
      case FIXED64:
        if (cursor.take(8) === undefined) return undefined;
        break;
      case FIXED32:
        if (cursor.take(4) === undefined) return undefined;
        break;
      case LENGTH_DELIMITED: {
        const length = cursor.varint();
        const bytes = length === undefined ? undefined : cursor.take(length);
        if (bytes === undefined) return undefined;
        if (groups.length > 0) break;
        if (fields.push({ number, bytes }) > MAX_FIELDS) return undefined;
        break;
      }
      case START_GROUP:
        if (groups.push(number) > MAX_GROUP_DEPTH) return undefined;
        break;
      case END_GROUP:
        if (groups.pop() !== number) return undefined;
        break;
      default:
        return undefined;
    }
  }
  return groups.length === 0 ? fields : undefined;
}

/**
 * Returns the value of a singular string field: the last occurrence, or an empty string without one.
 * Returns undefined if it is not UTF-8.
 */
export function stringField(fields: readonly WireField[], number: number): string | undefined {
  const bytes = fields.findLast((one) => one.number === number)?.bytes;
  if (bytes === undefined) return "";
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Returns the fields of a singular message field. Its occurrences are merged, as protobuf requires.
 * Returns an empty list without an occurrence, and undefined if one is malformed.
 */
export function messageField(
  fields: readonly WireField[],
  number: number,
): readonly WireField[] | undefined {
  const merged: WireField[] = [];
  for (const one of fields) {
    if (one.number !== number) continue;
    const inner = readFields(one.bytes);
    if (inner === undefined) return undefined;
    for (const field of inner) merged.push(field);
  }
  return merged;
}

class Cursor {
  readonly #message: Uint8Array;
  #at = 0;

  constructor(message: Uint8Array) {
    this.#message = message;
  }

  get atEnd(): boolean {
    return this.#at >= this.#message.length;
  }

  take(length: number): Uint8Array | undefined {
    const end = this.#at + length;
    if (end > this.#message.length) return undefined;
    const bytes = this.#message.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }

  /** Reads a varint; exact up to 2^53, more than any valid length or key. */
  varint(): number | undefined {
    let value = 0;
    for (let i = 0, scale = 1; i < MAX_VARINT_BYTES; i++, scale *= 128) {
      const byte = this.#message[this.#at++];
      if (byte === undefined) return undefined;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return undefined;
  }
}
