import fc from "fast-check";
import type { Sent } from "./cri_conversation.ts";

/** Generates a conversation with one to four corrupted chunks. */
export function corrupted(original: readonly Sent[]): fc.Arbitrary<readonly Sent[]> {
  const damage = fc.record({
    chunk: fc.nat({ max: original.length - 1 }),
    place: fc.double({ min: 0, max: 1, noNaN: true }),
    kind: fc.constantFrom("flip", "insert", "delete", "truncate", "repeat"),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  });
  return fc.array(damage, { minLength: 1, maxLength: 4 }).map((damages) => {
    const chunks = [...original];
    for (const { chunk, place, kind, bytes } of damages) {
      const target = chunks[chunk];
      if (target === undefined) continue;
      chunks[chunk] = { from: target.from, bytes: damaged(target.bytes, place, kind, bytes) };
    }
    return chunks;
  });
}

function damaged(bytes: Uint8Array, place: number, kind: string, extra: Uint8Array): Uint8Array {
  const at = Math.floor(place * bytes.length);
  const before = bytes.subarray(0, at);
  switch (kind) {
    case "flip": {
      const flipped = Uint8Array.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ 1 << ((extra[0] ?? 0) & 7);
      return flipped;
    }
    case "insert":
      return Uint8Array.of(...before, ...extra, ...bytes.subarray(at));
    case "delete":
      return Uint8Array.of(...before, ...bytes.subarray(at + extra.length));
    case "repeat":
      return Uint8Array.of(...before, ...before, ...bytes.subarray(at));
    default:
      return before;
  }
}
