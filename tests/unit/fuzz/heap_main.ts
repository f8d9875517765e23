/**
 * A process with a small heap that has every parser read hostile texts, and ends with 0. The one
 * for `heap_test.ts`: who needs more memory than there is does not live to tell.
 *
 * @module
 */
import { growing } from "./hostile_texts.ts";
import { TEXT_PARSERS, type TextParser } from "./parsers.ts";

const [size = "", wanted = ""] = Deno.args;
/** What keeps every beginning of a text: the test of the test. */
const GREEDY: TextParser = {
  name: "greedy",
  refuses: false,
  parse: (text) => Array.from(text, (_, i) => [...text.slice(0, i)]),
};

const parsers = wanted === GREEDY.name ? [GREEDY] : TEXT_PARSERS;
for (const { parse } of parsers) {
  for (const { of } of growing()) {
    try {
      await parse(of(Number(size)));
    } catch {
      // Refused: what it took until then counts just the same.
    }
  }
}
