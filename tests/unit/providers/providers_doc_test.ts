import { deepEqual } from "node:assert/strict";
import { REASON_CODES } from "../../../lib/model/mod.ts";

Deno.test("docs/providers.md: lists exactly the reason codes, with their meanings", async () => {
  const url = new URL("../../../docs/providers.md", import.meta.url);
  const text = await Deno.readTextFile(url);
  const table = text.slice(text.indexOf("## Reason codes"));
  const rows = [...table.matchAll(/^\| `([a-z-]+)` +\| (?:found|none|failed) +\| (.*?) *\|$/gm)];
  deepEqual(Object.fromEntries(rows.map(([, code, meaning]) => [code, meaning])), REASON_CODES);
});
