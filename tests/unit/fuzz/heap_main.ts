/**
 * A process with a small heap that has every parser read hostile texts, and ends with 0. The one
 * for `heap_test.ts`: who needs more memory than there is does not live to tell.
 *
 * @module
 */
import { growing } from "./hostile_texts.ts";
import { TEXT_PARSERS, type TextParser } from "./parsers.ts";
import { growingBytes, WIRE_PARSERS } from "./wire_parsers.ts";

const [size = "", wanted = ""] = Deno.args;
/** What keeps every beginning of a text: the test of the test. */
const GREEDY: TextParser = {
  name: "greedy",
  refuses: false,
  parse: (text) => Array.from(text, (_, i) => [...text.slice(0, i)]),
};

async function read(parse: () => unknown): Promise<void> {
  try {
    await parse();
  } catch {
    // Refused: what it took until then counts just the same.
  }
}

const length = Number(size);
for (const { parse } of wanted === GREEDY.name ? [GREEDY] : TEXT_PARSERS) {
  for (const { of } of growing()) await read(() => parse(of(length)));
}
for (const parse of Object.values(WIRE_PARSERS)) {
  for (const of of growingBytes()) await read(() => parse(of(length)));
}
