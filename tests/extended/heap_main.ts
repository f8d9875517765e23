/**
 * The process of `heap_test.ts`: runs every parser on hostile texts with a small heap, and exits with
 * 0 if the memory is sufficient.
 *
 * @module
 */
import { growing } from "./hostile_texts.ts";
import { TEXT_PARSERS, type TextParser } from "./parsers.ts";
import { growingBytes, WIRE_PARSERS } from "./wire_parsers.ts";

const [size = "", wanted = ""] = Deno.args;
/** A parser that keeps every prefix of a text, to test the test. */
const GREEDY: TextParser = {
  name: "greedy",
  refuses: false,
  parse: (text) => Array.from(text, (_, i) => [...text.slice(0, i)]),
};

async function read(parse: () => unknown): Promise<void> {
  try {
    await parse();
  } catch {
    // The memory until a rejection counts, too.
  }
}

const length = Number(size);
for (const { parse } of wanted === GREEDY.name ? [GREEDY] : TEXT_PARSERS) {
  for (const { of } of growing()) await read(() => parse(of(length)));
}
for (const parse of Object.values(WIRE_PARSERS)) {
  for (const of of growingBytes()) await read(() => parse(of(length)));
}
