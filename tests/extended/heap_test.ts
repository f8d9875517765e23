import { match, notStrictEqual, strictEqual } from "node:assert/strict";

/** The modules take a third of it. */
const HEAP_MB = 160;
const SIZE = 262_144;

async function readAll(
  ...more: string[]
): Promise<{ readonly code: number; readonly err: string }> {
  const main = new URL("./heap_main.ts", import.meta.url).pathname;
  const flags = ["-A", "--no-check", "--quiet", `--v8-flags=--max-old-space-size=${HEAP_MB}`];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, main, String(SIZE), ...more],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  return { code, err: new TextDecoder().decode(stderr) };
}

Deno.test("parsers: use at most some hundred bytes of memory per input byte", async () => {
  const { code, err } = await readAll();
  strictEqual(code, 0, err.slice(0, 2_000));
});

Deno.test("heapPerByte: detects a parser that allocates more", async () => {
  const { code, err } = await readAll("greedy");
  notStrictEqual(code, 0);
  match(err, /out of memory/);
});
