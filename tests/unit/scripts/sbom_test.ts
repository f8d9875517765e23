import { deepEqual, equal, match, ok } from "node:assert/strict";
import { npmPurl, sbomFromLock } from "../../../scripts/lib/sbom.ts";

const SUBJECT = {
  name: "agent",
  version: "1.2.3",
  commit: "abc",
  licence: "Apache-2.0",
  denoVersion: "2.9.6",
  target: "x86_64-unknown-linux-gnu",
  sha256: "00ff",
  denortSha256: "ff00",
};

const LOCK = {
  version: "5",
  npm: {
    "zeta@2.0.0": {
      integrity: "sha512-AAEC",
      dependencies: ["@scope/alpha", "peer@1.0.0_zeta@2.0.0"],
    },
    "@scope/alpha@1.0.0": { integrity: "sha512-/w==" },
    "peer@1.0.0_zeta@2.0.0": {},
    "peer@1.0.0_zeta@3.0.0": {},
    "test-only@3.0.0": { integrity: "nonsense" },
  },
};

const LICENCES: Record<string, string> = { zeta: "MIT", "@scope/alpha": "(MIT OR Apache-2.0)" };

// The document is plain JSON, and its shape is tested here.
// deno-lint-ignore no-explicit-any
function document(): any {
  const shipped = new Set(["zeta@2.0.0", "@scope/alpha@1.0.0", "peer@1.0.0"]);
  return sbomFromLock(LOCK, SUBJECT, { shipped, licenceOf: (name) => LICENCES[name] });
}

Deno.test("sbomFromLock: describes the program with its hash, commit and target", () => {
  const { bomFormat, specVersion, metadata } = document();
  equal(bomFormat, "CycloneDX");
  equal(specVersion, "1.6");
  deepEqual(metadata.component.hashes, [{ alg: "SHA-256", content: "00ff" }]);
  deepEqual(metadata.component.properties.map((p: { value: string }) => p.value), [
    "abc",
    "x86_64-unknown-linux-gnu",
  ]);
  equal("timestamp" in metadata, false);
});

Deno.test("sbomFromLock: lists the runtime first, with its hash, and every locked package once", () => {
  deepEqual(document().components[0].hashes, [{ alg: "SHA-256", content: "ff00" }]);
  const purls = document().components.map((component: { purl: string }) => component.purl);
  deepEqual(purls, [
    "pkg:github/denoland/deno@v2.9.6",
    "pkg:npm/%40scope/alpha@1.0.0",
    "pkg:npm/peer@1.0.0",
    "pkg:npm/test-only@3.0.0",
    "pkg:npm/zeta@2.0.0",
  ]);
});

Deno.test("sbomFromLock: converts integrity to hex and keeps licences", () => {
  const byName = new Map(
    document().components.map((component: { name: string }) => [component.name, component]),
  );
  // deno-lint-ignore no-explicit-any
  const zeta = byName.get("zeta") as any;
  deepEqual(zeta.hashes, [{ alg: "SHA-512", content: "000102" }]);
  deepEqual(zeta.licenses, [{ license: { id: "MIT" } }]);
  equal(zeta.scope, "required");
  // deno-lint-ignore no-explicit-any
  const alpha = byName.get("@scope/alpha") as any;
  deepEqual(alpha.licenses, [{ expression: "(MIT OR Apache-2.0)" }]);
  // deno-lint-ignore no-explicit-any
  const testOnly = byName.get("test-only") as any;
  equal("hashes" in testOnly, false);
  equal("licenses" in testOnly, false);
  equal(testOnly.scope, "excluded");
});

Deno.test("sbomFromLock: resolves dependencies to references that exist", () => {
  const { dependencies, components, metadata } = document();
  const refs = new Set([
    metadata.component["bom-ref"],
    ...components.map((component: { "bom-ref": string }) => component["bom-ref"]),
  ]);
  equal(new Set(dependencies.map((d: { ref: string }) => d.ref)).size, dependencies.length);
  for (const { ref, dependsOn } of dependencies) {
    ok(refs.has(ref), ref);
    for (const other of dependsOn) ok(refs.has(other), other);
  }
  const zeta = dependencies.find((d: { ref: string }) => d.ref === "pkg:npm/zeta@2.0.0");
  deepEqual(zeta.dependsOn, ["pkg:npm/%40scope/alpha@1.0.0", "pkg:npm/peer@1.0.0"]);
  const main = dependencies[0].dependsOn;
  equal(main.includes("pkg:npm/test-only@3.0.0"), false);
});

Deno.test("sbomFromLock: returns equal documents for equal input", () => {
  equal(JSON.stringify(document()), JSON.stringify(document()));
});

Deno.test("sbomFromLock: adds a hash to every package of this project's lock file", async () => {
  const lock = JSON.parse(await Deno.readTextFile(new URL("../../../deno.lock", import.meta.url)));
  const facts = { shipped: new Set<string>(), licenceOf: () => undefined };
  // deno-lint-ignore no-explicit-any
  const sbom = sbomFromLock(lock, SUBJECT, facts) as any;
  const packages = new Set(Object.keys(lock.npm).map((key) => key.replace(/(?<=.@.*)_.*$/, "")));
  equal(sbom.components.length, packages.size + 1);
  for (const component of sbom.components.slice(1)) {
    match(component.hashes[0].content, /^[0-9a-f]{128}$/, component.name);
  }
});

Deno.test("npmPurl: escapes the scope", () => {
  equal(npmPurl("@logtape/logtape", "2.4.2"), "pkg:npm/%40logtape/logtape@2.4.2");
});
