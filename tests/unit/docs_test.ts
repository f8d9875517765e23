import { deepEqual, equal, ok } from "node:assert/strict";
import { pagesWithParts, PARTS, undescribedLabels, withGenerated } from "../../scripts/docs.ts";

const DOCS = new URL("../../docs/", import.meta.url);

/** Without what `deno fmt` adds: line breaks in paragraphs and padding of tables. */
function unformatted(text: string): string {
  return text.replaceAll(/\s+/g, " ").replaceAll(/-{3,}/g, "---");
}

function* pages(folder = DOCS): Generator<{ url: URL; text: string }> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* pages(new URL(`${name}/`, folder));
    else if (name.endsWith(".md")) {
      const url = new URL(name, folder);
      yield { url, text: Deno.readTextFileSync(url) };
    }
  }
}

/** Anchors of a page's headings, as code hosts derive them. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading.toLowerCase().replaceAll(/[^\w -]/g, "").replaceAll(" ", "-")
  );
}

Deno.test("docs: generated parts are up to date (deno task docs)", () => {
  const found: string[] = [];
  for (const { url, text } of pagesWithParts()) {
    equal(unformatted(text), unformatted(withGenerated(text)), url.pathname);
    found.push(
      ...[...text.matchAll(/<!-- generated: ([a-z-]+) -->/g)].map(([, name = ""]) => name),
    );
  }
  deepEqual(found.sort(), Object.keys(PARTS).sort());
  deepEqual(undescribedLabels(), []);
});

Deno.test("docs: every link leads to a page and a heading", () => {
  const readme = new URL("../README.md", DOCS);
  for (const { url, text } of [...pages(), { url: readme, text: Deno.readTextFileSync(readme) }]) {
    for (const [, target = ""] of text.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [path = "", anchor] = target.split("#");
      const linked = Deno.readTextFileSync(path === "" ? url : new URL(path, url));
      ok(anchor === undefined || anchorsOf(linked).includes(anchor), `${url.pathname}: ${target}`);
    }
  }
});

Deno.test("docs: no line of a table is longer than 160 characters", () => {
  for (const { url, text } of pages()) {
    for (const line of text.split("\n").filter((line) => line.startsWith("|"))) {
      ok(line.length <= 160, `${url.pathname}: ${line.slice(0, 60)}: ${line.length}`);
    }
  }
});

Deno.test("docs: each guide has fewer than 150 lines and ends in a check", () => {
  for (const { url, text } of pages(new URL("guides/", DOCS))) {
    ok(text.split("\n").length < 150, url.pathname);
    equal(text.match(/^## .*$/gm)?.at(-1), "## Check", url.pathname);
  }
});

Deno.test("docs: files that pages name exist", () => {
  for (const { url, text } of pages()) {
    for (const [, path = ""] of text.matchAll(/`((?:[\w-]+\/)+[\w-]+\.ts)`/g)) {
      const folder = /^(?:lib|scripts|tests)\//.test(path) ? "../" : "../lib/";
      ok(Deno.statSync(new URL(`${folder}${path}`, DOCS)).isFile, `${url.pathname}: ${path}`);
    }
  }
});
