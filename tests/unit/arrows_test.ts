import { deepEqual, equal, match, ok } from "node:assert/strict";
import { findBreaches, readProduct, roomArrows, ROOT } from "../../scripts/arrows.ts";
import { readSource } from "../../scripts/lib/source_text.ts";

const PRODUCT = readProduct(ROOT);

function breaches(files: Record<string, string>): string[] {
  return findBreaches(new Map(Object.entries(files)));
}

/** What the checks say of one import in one file. */
function breachOfImport(path: string, specifier: string): string[] {
  return breaches({ [path]: `import { x } from "${specifier}";\n` });
}

Deno.test("findBreaches has nothing to say of the product", () => {
  ok(PRODUCT.size > 50, "the product's files are found");
  equal(findBreaches(PRODUCT).join("\n"), "");
});

Deno.test("roomArrows shows the arrows of the product, and none out of the model", () => {
  const arrows = roomArrows(PRODUCT);
  deepEqual(arrows.get("model"), []);
  deepEqual(arrows.get("assets"), []);
  ok(arrows.get("main")?.includes("cli"));
  ok(arrows.get("store")?.includes("model"));
});

Deno.test("findBreaches allows the arrows of the table", () => {
  deepEqual(
    breaches({
      "main.ts": 'import { run } from "./lib/cli/mod.ts";\n',
      "lib/cli/mod.ts": 'export * from "./run.ts";\n',
      "lib/cli/run.ts": 'import "../edge/mod.ts";\nimport "../reconcile/mod.ts";\n',
      "lib/cli/demo.ts": 'const { demo } = await import("../simnode/mod.ts");\n',
      "lib/edge/mod.ts": 'import type { Clock } from "../model/mod.ts";\nDeno.cwd();\n',
      "lib/reconcile/mod.ts": 'import "../store/mod.ts";\nimport "../deliver/mod.ts";\n',
      "lib/deliver/mod.ts": 'import "../model/mod.ts";\nimport "@std/path";\n',
      "lib/serve/mod.ts": 'import "../model/mod.ts";\n',
      "lib/simnode/mod.ts": 'import "../model/mod.ts";\nDeno.cwd();\n',
      "lib/model/mod.ts": 'import { createHmac } from "node:crypto";\n',
      "lib/assets/mod.ts": 'import unit from "./a.service" with { type: "text" };\n',
    }),
    [],
  );
});

Deno.test("findBreaches refuses an arrow that the table does not have", () => {
  const forbidden: [string, string][] = [
    ["lib/store/a.ts", "../deliver/mod.ts"],
    ["lib/deliver/a.ts", "../store/mod.ts"],
    ["lib/resolve/a.ts", "../edge/mod.ts"],
    ["lib/reconcile/a.ts", "../report/mod.ts"],
    ["lib/reconcile/a.ts", "../config/mod.ts"],
    ["lib/discover/deep/a.ts", "../../cli/mod.ts"],
    ["lib/simnode/a.ts", "../edge/mod.ts"],
    ["lib/cli/run.ts", "../simnode/mod.ts"],
    ["main.ts", "./lib/simnode/mod.ts"],
    ["lib/model/a.ts", "../config/mod.ts"],
    ["lib/assets/a.ts", "../model/mod.ts"],
  ];
  for (const [path, specifier] of forbidden) {
    const found = breachOfImport(path, specifier);
    equal(found.length, 1, path);
    match(found[0] ?? "", /^\S+:1: "\w+" must not import "\w+"/);
  }
});

Deno.test("findBreaches refuses an import that passes by the door", () => {
  match(breachOfImport("lib/store/a.ts", "../model/secret.ts")[0] ?? "", /not the door of "model"/);
  match(breachOfImport("main.ts", "./lib/cli/run.ts")[0] ?? "", /not the door of "cli"/);
  match(breachOfImport("lib/cli/a.ts", "../assets/config.toml")[0] ?? "", /not the door/);
  match(breachOfImport("lib/cli/a.ts", "../../deno.json")[0] ?? "", /deno\.json, which is in no/);
  match(breachOfImport("lib/cli/a.ts", "../../tests/fakes/x.ts")[0] ?? "", /which is in no room/);
});

Deno.test("findBreaches sees every way to import", () => {
  const ways = [
    'import x from "../edge/mod.ts";',
    'import type { X } from "../edge/mod.ts";',
    'import {\n  x,\n} from "../edge/mod.ts";',
    'import "../edge/mod.ts";',
    'export * from "../edge/mod.ts";',
    "export { x } from '../edge/mod.ts';",
    'const x = await import("../edge/mod.ts");',
    'const x = await import(\n  "../edge/mod.ts"\n);',
    'type X = import("../edge/mod.ts").X;',
    'const a = 1; import /* why */ "../edge/mod.ts";',
  ];
  for (const way of ways) equal(breaches({ "lib/store/a.ts": `${way}\n` }).length, 1, way);
  match(breaches({ "lib/store/a.ts": "await import(name);\n" })[0] ?? "", /must name its file/);
  match(breaches({ "lib/store/a.ts": "await import(`./${x}`);\n" })[0] ?? "", /must name its file/);
});

Deno.test("findBreaches takes no text for an import that is none", () => {
  const texts = [
    '// import "../edge/mod.ts";',
    '/**\n * import "../edge/mod.ts";\n */',
    "const a = 'import \"../edge/mod.ts\"';",
    'const a = `import "../edge/mod.ts"; ${b} from "../edge/mod.ts"`;',
    'const a = Array.from("../edge/mod.ts");',
    'const a = /import "..\\/edge/;',
    "const url = import.meta.url;",
  ];
  for (const text of texts) deepEqual(breaches({ "lib/store/a.ts": `${text}\n` }), [], text);
});

Deno.test("findBreaches refuses packages past deno.json, and any in model and assets", () => {
  for (const specifier of ["npm:left-pad", "jsr:@std/path", "https://example.com/a.ts"]) {
    match(breachOfImport("lib/store/a.ts", specifier)[0] ?? "", /past deno\.json/);
  }
  match(breachOfImport("lib/model/a.ts", "valibot")[0] ?? "", /must not import the package/);
  match(breachOfImport("lib/model/a.ts", "node:fs")[0] ?? "", /must not import the package/);
  match(breachOfImport("lib/assets/a.ts", "node:crypto")[0] ?? "", /must not import the package/);
  deepEqual(breachOfImport("lib/store/a.ts", "node:crypto"), []);
});

Deno.test("findBreaches refuses a room that the table does not know", () => {
  match(breaches({ "lib/attic/mod.ts": "" })[0] ?? "", /"attic" has no row/);
});

Deno.test("findBreaches names a circle of imports once", () => {
  const found = breaches({
    "lib/store/a.ts": 'import "./b.ts";\nimport "./d.ts";\n',
    "lib/store/b.ts": 'import type { C } from "./c.ts";\n',
    "lib/store/c.ts": 'export * from "./a.ts";\n',
    "lib/store/d.ts": 'import "./c.ts";\n',
    "lib/store/self.ts": 'import "./self.ts";\n',
    "lib/store/tree.ts": 'import "./leaf.ts";\nimport "./a.ts";\n',
    "lib/store/leaf.ts": "",
  });
  deepEqual(found, [
    "lib/store/a.ts: a circle of imports: lib/store/a.ts → lib/store/b.ts → lib/store/c.ts → " +
    "lib/store/a.ts",
    "lib/store/self.ts: a circle of imports: lib/store/self.ts → lib/store/self.ts",
  ]);
});

Deno.test("findBreaches leaves the system to the edge", () => {
  const code = 'export const home = Deno.env.get("HOME");\n';
  for (const path of ["lib/store/a.ts", "lib/cli/a.ts", "lib/model/a.ts"]) {
    equal(breaches({ [path]: code }).length, 1, path);
  }
  for (const path of ["lib/edge/a.ts", "lib/simnode/a.ts", "main.ts"]) {
    deepEqual(breaches({ [path]: code }), [], path);
  }
  deepEqual(breaches({ "lib/store/a.ts": '// as Deno.cwd() does\nconst a = "Deno.cwd()";\n' }), []);
  equal(breaches({ "lib/store/a.ts": "const a = `${Deno.cwd()}`;\n" }).length, 1);
  equal(breaches({ "lib/store/a.ts": "const { env } = globalThis.Deno;\n" }).length, 1);
});

Deno.test("readSource keeps code and lines, and blanks what only looks like code", () => {
  const text = [
    'const a = "x\\"y"; // "z"',
    "const b = /[\"'/]/.test(a) ? 4 / 2 / 1 : `t ${`u ${{ v: '}' }.v}`} w`;",
    "/* import */ const c = a",
    '  + "tail";',
    'import "./end.ts";',
  ].join("\n");
  const { code, imports } = readSource(text);
  equal(code.length, text.length);
  equal(code.split("\n").length, 5);
  deepEqual(imports, [{ specifier: "./end.ts", line: 5 }]);
  equal(
    code.replace(/ +/g, " "),
    "const a = \"; \nconst b = .test(a) ? 4 / 2 / 1 : ` ${` ${{ v: ' }.v}`} `;\n const c = a\n" +
      ' + ";\nimport ";',
  );
});
