import { deepEqual, equal, match, ok } from "node:assert/strict";
import { findBreaches, packageImports, readProduct, ROOT } from "../../scripts/arrows.ts";

const PRODUCT = readProduct(ROOT);

function breaches(files: Record<string, string>): string[] {
  return findBreaches(new Map(Object.entries(files)));
}

Deno.test("import rules: the product keeps them", () => {
  ok(PRODUCT.size > 50, "the product's files are found");
  equal(findBreaches(PRODUCT).join("\n"), "");
});

Deno.test("import rules: model and assets import no package", () => {
  const imports = packageImports(PRODUCT);
  deepEqual(imports.get("model"), []);
  deepEqual(imports.get("assets"), []);
  ok(imports.get("main")?.includes("cli"));
});

Deno.test("import rules: an import that the table lacks is a breach", () => {
  const forbidden: [string, string][] = [
    ["lib/credentials/a.ts", "../delivery/mod.ts"],
    ["lib/providers/a.ts", "../platform/mod.ts"],
    ["lib/providers/docker/a.ts", "../../platform/mod.ts"],
    ["lib/reconciler/a.ts", "../observability/mod.ts"],
    ["lib/cli/run.ts", "../simulator/mod.ts"],
    ["lib/model/a.ts", "../config/mod.ts"],
  ];
  for (const [path, specifier] of forbidden) {
    const found = breaches({ [path]: `import { x } from "${specifier}";\n` });
    equal(found.length, 1, path);
    match(found[0] ?? "", /must not import/);
  }
});

Deno.test("import rules: other packages are imported through mod.ts, dynamically too", () => {
  for (
    const form of ['import { x } from "../model/a.ts";', 'const x = await import("../model/a.ts");']
  ) {
    match(breaches({ "lib/config/a.ts": `${form}\n` })[0] ?? "", /not lib\/model\/mod\.ts/);
  }
  deepEqual(breaches({ "lib/config/a.ts": 'import { x } from "../model/mod.ts";\n' }), []);
});

Deno.test("import rules: cycles, unknown packages and specifiers past deno.json are breaches", () => {
  const cycle = {
    "lib/config/a.ts": 'import "./b.ts";\n',
    "lib/config/b.ts": 'export * from "./a.ts";\n',
  };
  match(breaches(cycle)[0] ?? "", /import cycle: lib\/config\/a\.ts → lib\/config\/b\.ts/);
  match(breaches({ "lib/new/a.ts": 'import "./b.ts";\n' })[0] ?? "", /has no rule/);
  match(breaches({ "lib/config/a.ts": 'import "npm:left-pad";\n' })[0] ?? "", /must not import/);
});

Deno.test("import rules: only platform and simulator use Deno, comments do not count", () => {
  equal(breaches({ "lib/config/a.ts": "const a = `${Deno.cwd()}`;\n" }).length, 1);
  deepEqual(breaches({ "lib/config/a.ts": "// Deno.cwd()\n" }), []);
  deepEqual(breaches({ "lib/platform/a.ts": "Deno.cwd();\n" }), []);
});
