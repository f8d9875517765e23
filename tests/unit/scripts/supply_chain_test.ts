import { deepEqual, equal } from "node:assert/strict";
import { reachedPackages } from "../../../scripts/lib/packages.ts";
import {
  dependenciesOf,
  isFrozen,
  type Manifest,
  violationsOf,
} from "../../../scripts/lib/supply_chain.ts";

const DIGEST = `sha512-${"A".repeat(86)}==`;
const LOCK = {
  version: "5",
  npm: {
    "@scope/direct@1.0.0_peer@2.0.0": { integrity: DIGEST },
    "brought@3.0.0": { integrity: DIGEST },
  },
  workspace: { dependencies: ["npm:@scope/direct@^1.0.0"] },
};
const README = `
| Import   | From          | Licence | Why                |
| -------- | ------------- | ------- | ------------------ |
| \`thing\` | @scope/direct | MIT     | reads things       |

Transitive: \`brought\` (ISC).
`;
const MANIFESTS: Readonly<Record<string, Manifest>> = {
  "@scope/direct": { license: "MIT", scripts: { test: "x" }, hasNativeBuild: false },
  brought: { license: "ISC", hasNativeBuild: false },
};

function violations(
  { lock = LOCK as unknown, manifests = MANIFESTS, readme = README } = {},
): readonly string[] {
  // deno-lint-ignore no-explicit-any
  const found = dependenciesOf(lock as any, new Set(), (name) => manifests[name]);
  return violationsOf(found, readme);
}

Deno.test("dependenciesOf: lists direct and transitive packages of a lock", () => {
  const found = dependenciesOf(LOCK, new Set(["brought@3.0.0"]), (name) => MANIFESTS[name]);
  deepEqual(
    found.map(({ name, isDirect, isShipped, licence }) => [name, isDirect, isShipped, licence]),
    [["@scope/direct", true, false, "MIT"], ["brought", false, true, "ISC"]],
  );
  deepEqual(violations(), []);
});

Deno.test("reachedPackages: excludes packages that only tests import", () => {
  const npmPackages = {
    "a@1": { name: "a", version: "1", dependencies: ["b@2_a@1"] },
    "b@2_a@1": { name: "b", version: "2", dependencies: ["a@1"] },
    "test-only@3": { name: "test-only", version: "3" },
  };
  const reached = reachedPackages({ modules: [{ npmPackage: "a@1" }, {}], npmPackages });
  deepEqual([...reached].toSorted(), ["a@1", "b@2"]);
});

Deno.test("violationsOf: reports a package with an install script", () => {
  const brought = { license: "ISC", scripts: { postinstall: "curl" }, hasNativeBuild: true };
  deepEqual(violations({ manifests: { ...MANIFESTS, brought } }), [
    "brought@3.0.0: install script: postinstall",
    "brought@3.0.0: install script: binding.gyp",
  ]);
  const npm = { ...LOCK.npm, "brought@3.0.0": { integrity: DIGEST, scripts: true } };
  deepEqual(violations({ lock: { ...LOCK, npm } }), [
    "brought@3.0.0: install script: scripts in deno.lock",
  ]);
});

Deno.test("violationsOf: reports licences that are unknown, not allowed, or missing in the README", () => {
  const { brought: _, ...fewer } = MANIFESTS;
  deepEqual(violations({ manifests: fewer }), ["brought@3.0.0: no licence found"]);
  const direct = { license: "AGPL-3.0", hasNativeBuild: false };
  deepEqual(violations({ manifests: { ...MANIFESTS, "@scope/direct": direct } }), [
    "@scope/direct@1.0.0: licence AGPL-3.0 is not allowed",
  ]);
  equal(violations({ readme: README.replace("(ISC)", "(MIT)") }).length, 1);
  equal(violations({ readme: README.replace("| MIT ", "| ISC ") }).length, 1);
  equal(violations({ readme: README.replace("reads things", "") }).length, 1, "without a reason");
});

Deno.test("violationsOf: reports a package without a digest", () => {
  const npm = { ...LOCK.npm, "brought@3.0.0": {} };
  deepEqual(violations({ lock: { ...LOCK, npm } }), [
    "brought@3.0.0: no SHA-512 in deno.lock",
  ]);
});

Deno.test("deno.lock: is frozen, and contains only npm packages", async () => {
  const root = new URL("../../../", import.meta.url);
  equal(isFrozen(JSON.parse(await Deno.readTextFile(new URL("deno.json", root)))), true);
  equal(isFrozen({ lock: { frozen: false } }), false);
  equal(isFrozen({}), false);
  const lock = JSON.parse(await Deno.readTextFile(new URL("deno.lock", root)));
  deepEqual(Object.keys(lock).toSorted(), ["npm", "specifiers", "version", "workspace"]);
});
