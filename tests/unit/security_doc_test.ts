import { deepEqual, ok } from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);

/** The text of every test of the product. */
async function allTests(folder = new URL("tests/", ROOT)): Promise<string> {
  let text = "";
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const url = new URL(isDirectory ? `${name}/` : name, folder);
    if (isDirectory) text += await allTests(url);
    else if (name.endsWith("_test.ts") && name !== "security_doc_test.ts") {
      text += await Deno.readTextFile(url);
    }
  }
  return text;
}

Deno.test("docs/security.md names tests that are there", async () => {
  const document = (await Deno.readTextFile(new URL("docs/security.md", ROOT)))
    .replaceAll(/\s+/g, " ");
  // A test's name is more than a few words; paths and settings are none.
  const named = [...document.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name)
    .filter((name) => name.length >= 25 && name.includes(" ") && !name.includes(" = "));
  ok(named.length >= 30, `${named.length} names`);
  const tests = (await allTests()).replaceAll('\\"', '"');
  deepEqual(named.filter((name) => !tests.includes(name)), []);
});
