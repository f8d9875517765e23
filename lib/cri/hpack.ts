import { decodeHuffman, latin1 } from "./hpack_huffman.ts";
import { type HeaderField, STATIC_TABLE } from "./hpack_static_table.ts";
import { WireError } from "./wire_error.ts";

/** What a table holds before an encoder says otherwise (RFC 9113, section 6.5.2). */
const DEFAULT_TABLE_BYTES = 4_096;
/** An encoder that wants a larger table is not followed. gRPC's stay at the default. */
const MAX_TABLE_BYTES = 64 * 1_024;
/** What a field costs beside its text (RFC 7541, section 4.1). */
const FIELD_OVERHEAD = 32;
const MAX_INTEGER = 2 ** 28;

/** What {@linkcode HpackDecoder.decode} hands over, field by field. */
export type FieldFound = (name: string, value: string) => void;

/**
 * Decodes the header blocks of one direction of a connection, in order (RFC 7541). Every block must
 * pass through it, wanted or not, because each may change the table that later ones refer to.
 */
export class HpackDecoder {
  /** Oldest first. */
  #fields: HeaderField[] = [];
  #bytes = 0;
  #maxBytes = DEFAULT_TABLE_BYTES;
  #block: Uint8Array = new Uint8Array(0);
  #at = 0;

  /**
   * Decodes a whole block.
   *
   * @throws {WireError} when it breaks the format; the table is of no use then.
   */
  decode(block: Uint8Array, found: FieldFound): void {
    this.#block = block;
    this.#at = 0;
    let mayResize = true;
    while (this.#at < block.length) {
      const first = block[this.#at] ?? 0;
      if ((first & 0xe0) === 0x20) {
        // The table is resized at the beginning of a block only (section 4.2).
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

  /** The dynamic table, newest first, and its size in bytes: for tests. */
  table(): { readonly fields: readonly HeaderField[]; readonly bytes: number } {
    return { fields: this.#fields.toReversed(), bytes: this.#bytes };
  }

  /** Section 6: indexed, literal that enters the table, literal that does not. */
  #field(first: number): HeaderField {
    if (first & 0x80) return this.#indexed(this.#integer(7));
    const enters = (first & 0x40) !== 0;
    const index = this.#integer(enters ? 6 : 4);
    const name = index === 0 ? this.#string() : this.#indexed(index).name;
    const field = { name, value: this.#string() };
    if (enters) this.#add(field);
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
    let gone = 0;
    while (this.#bytes > this.#maxBytes) {
      const oldest = this.#fields[gone++];
      if (oldest === undefined) break;
      this.#bytes -= sizeOf(oldest);
    }
    if (gone > 0) this.#fields.splice(0, gone);
  }

  /** Section 5.1: `bits` of this byte, and of those after it where they do not suffice. */
  #integer(bits: number): number {
    const full = (1 << bits) - 1;
    let value = this.#byte() & full;
    if (value < full) return value;
    for (let scale = 1;; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (value > MAX_INTEGER || scale > MAX_INTEGER) throw malformed();
      if (byte < 0x80) return value;
    }
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
