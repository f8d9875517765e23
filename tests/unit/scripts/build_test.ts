import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { BUILD_INFO } from "../../../lib/assets/mod.ts";
import { DEVELOPMENT_STAMP, stampBundle } from "../../../scripts/lib/build_stamp.ts";
import { numberModules } from "../../../scripts/lib/compile.ts";
import { compileFlags } from "../../../scripts/lib/permissions.ts";
import {
  checkDenort,
  denortMissing,
  errorOutput,
  parseTarget,
} from "../../../scripts/lib/toolchain.ts";

const INFO = { version: "1.0.0", commit: "0123456789ab-dirty", denoVersion: "2.9.6" };

Deno.test("stampBundle: replaces the placeholder of the module with the values of the build", async () => {
  const source = await Deno.readTextFile(
    new URL("../../../lib/assets/mod.ts", import.meta.url),
  );
  const stamped = stampBundle(source, INFO);
  ok(stamped.includes('"nydus-auth-agent-build|1.0.0|0123456789ab-dirty|2.9.6"'));
  equal(stamped.includes(DEVELOPMENT_STAMP), false);
});

Deno.test("stampBundle: rejects a bundle without a stamp, with two stamps, or with an invalid value", () => {
  throws(() => stampBundle("", INFO), /0 times/);
  throws(() => stampBundle(DEVELOPMENT_STAMP.repeat(2), INFO), /2 times/);
  throws(() => stampBundle(DEVELOPMENT_STAMP, { ...INFO, commit: '"|' }), /unsupported value/);
});

Deno.test("BUILD_INFO: identifies a run from source", () => {
  deepEqual({ ...BUILD_INFO }, { version: "development", commit: "development", denoVersion: "" });
});

Deno.test("compileFlags: never grants all permissions, and disables prompts", () => {
  const flags = compileFlags();
  for (const flag of flags) {
    equal(/^(?:-A|--allow-all|--allow-ffi|--allow-import)/.test(flag), false, flag);
  }
  ok(flags.includes("--no-prompt"));
});

Deno.test("bench task: uses the V8 flags of the binary", async () => {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("../../../deno.json", import.meta.url)),
  );
  const flags = compileFlags().filter((flag) => flag.startsWith("--v8-flags="));
  equal(flags.length, 1);
  ok(tasks.bench.command.split(" ").includes(flags[0]), "deno.json, task bench");
});

Deno.test("parseTarget: accepts the two targets and lists them in the error", () => {
  equal(parseTarget("aarch64-unknown-linux-gnu"), "aarch64-unknown-linux-gnu");
  throws(() => parseTarget("x86_64-pc-windows-msvc"), /x86_64-unknown-linux-gnu and aarch64/);
  throws(() => parseTarget("toString"), /not supported/);
});

Deno.test("checkDenort: rejects a missing file, a non-program and another machine", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/denort`;
    const target = "x86_64-unknown-linux-gnu";
    await rejects(checkDenort(path, target), /DENORT_BIN=.*denort: .*No such file/);
    await Deno.writeTextFile(path, "short");
    await rejects(checkDenort(path, target), /not a Linux program/);
    await Deno.writeTextFile(path, "#!/bin/sh\necho this is a script\n");
    await rejects(checkDenort(path, target), /not a Linux program/);
    const header = new Uint8Array(64);
    header.set([0x7f, 0x45, 0x4c, 0x46]);
    header[18] = 0xb7;
    await Deno.writeFile(path, header);
    await rejects(checkDenort(path, target), /another machine than x86_64/);
    await checkDenort(path, "aarch64-unknown-linux-gnu");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("denortMissing: lists three solutions", () => {
  const { message } = denortMissing("2.9.6", "x86_64-unknown-linux-gnu", "no network");
  for (const word of ["2.9.6", "HTTPS_PROXY", "DENORT_BIN", "cache"]) {
    ok(message.includes(word), word);
  }
});

Deno.test("errorOutput: removes progress lines and backtraces", () => {
  equal(errorOutput("Compile x\nDownload y\nerror: no\n\nStack backtrace:\n 0: z"), "error: no");
});

Deno.test("numberModules: produces the same names and contents in two folders", async () => {
  const bundle = async (hashes: readonly string[]): Promise<Record<string, string>> => {
    const [app = "", chunk = ""] = hashes;
    const folder = await Deno.makeTempDir();
    try {
      const texts: Record<string, string> = {
        "main.js":
          `import{a}from"./chunk-${chunk}.js";import("./app-${app}.js");"left-ABCDEFGH.js"`,
        [`app-${app}.js`]: `import{a}from"./chunk-${chunk}.js";`,
        [`chunk-${chunk}.js`]: "export{a};",
      };
      for (const [name, text] of Object.entries(texts)) {
        await Deno.writeTextFile(`${folder}/${name}`, text);
      }
      await numberModules(folder);
      const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
      const read = async (name: string) => [name, await Deno.readTextFile(`${folder}/${name}`)];
      return Object.fromEntries(await Promise.all(names.map(read)));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  };
  const one = await bundle(["DZ2TSH2N", "4H4IEB3L"]);
  deepEqual(Object.keys(one), ["app-2.js", "chunk-1.js", "main.js"]);
  ok(one["main.js"]?.includes('import("./app-2.js");"left-ABCDEFGH.js"'));
  deepEqual(await bundle(["QZFS27PN", "3KAFM4BA"]), one);
});
