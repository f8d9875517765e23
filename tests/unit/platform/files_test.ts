// deno-lint-ignore-file no-sync-fn-in-async-fn
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import {
  isMemoryBacked,
  removeTemporaryFiles,
  systemClock,
  systemFiles,
} from "../../../lib/platform/mod.ts";
import { replacing } from "../../fakes/runtime.ts";

function folder(): { readonly path: string } & Disposable {
  const path = Deno.makeTempDirSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

const MODE = { mode: 0o600 };

Deno.test("readText: distinguishes missing from unreadable files, and quotes no content", async () => {
  using dir = folder();
  const at = (name: string) => join(dir.path, name);
  strictEqual(await systemFiles.readText(at("none")), undefined);
  await rejects(systemFiles.readText(dir.path), { code: "io", message: /directory/ });
  Deno.writeFileSync(at("binary"), new Uint8Array([0xff, 0xfe, 0xc3]));
  await rejects(systemFiles.readText(at("binary")), { code: "io", message: /not UTF-8/ });
  Deno.writeTextFileSync(at("long"), "secret".repeat(100));
  await rejects(systemFiles.readText(at("long"), { maxBytes: 10 }), (error: Error) => {
    return error.message.includes("larger than 10") && !error.message.includes("secret");
  });
  const umlauts = `x${"ä".repeat(100_000)}`; // one of them is in two reads
  Deno.writeTextFileSync(at("umlauts"), umlauts);
  strictEqual(await systemFiles.readText(at("umlauts")), umlauts);
  for (const [bytes, isRead] of [[4_194_304, true], [4_194_305, false]] as const) {
    Deno.writeTextFileSync(at("large"), "");
    Deno.truncateSync(at("large"), bytes);
    const read = systemFiles.readText(at("large"));
    strictEqual(await read.then((text) => text?.length === bytes, () => false), isRead);
  }
  Deno.writeTextFileSync(at("text"), "ä\n");
  strictEqual(await systemFiles.readText(at("text")), "ä\n");
});

Deno.test("writeAtomic: replaces a file, sets its mode, and leaves no temporary file", async () => {
  using dir = folder();
  const path = join(dir.path, "f");
  Deno.writeTextFileSync(path, "old", { mode: 0o644 });
  const before = Deno.openSync(path);
  await systemFiles.writeAtomic(path, "new", MODE);
  strictEqual(Deno.readTextFileSync(path), "new");
  strictEqual((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
  const buffer = new Uint8Array(10);
  strictEqual(before.readSync(buffer), 3, "a reader of the old file still reads the old file");
  before.close();
  deepStrictEqual([...Deno.readDirSync(dir.path)].map(({ name }) => name), ["f"]);
});

Deno.test("stat, list: follow links, take a missing path for absent, and report other errors", async () => {
  using dir = folder();
  const at = (name: string) => join(dir.path, name);
  Deno.writeTextFileSync(at("file"), "");
  Deno.symlinkSync(at("file"), at("link"));
  Deno.symlinkSync(at("loop"), at("loop"));
  strictEqual((await systemFiles.stat(at("link")))?.kind, "file");
  strictEqual((await systemFiles.stat(at("link"), { noFollow: true }))?.kind, "symlink");
  for (const path of [at("none"), at("file/below")]) {
    strictEqual(await systemFiles.stat(path), undefined);
    deepStrictEqual(await systemFiles.list(path), []);
  }
  await rejects(systemFiles.stat(at("loop")), { code: "io" });
  await rejects(systemFiles.list(at("loop")), { code: "io" });
});

Deno.test("removeTemporaryFiles: removes the agent's files, follows no links, keeps other files", async () => {
  using dir = folder();
  const left = (of: string) => `.${of}.${crypto.randomUUID()}.tmp`;
  const below = join(dir.path, "d1", "s1");
  Deno.mkdirSync(join(below, "deep"), { recursive: true });
  const ours = [join(dir.path, "d1", left("f")), join(below, left("f"))];
  const others = [
    join(below, left("g")),
    join(below, ".f.1234.tmp"),
    join(below, "f"),
    join(below, "deep", left("f")),
  ];
  for (const path of [...ours, ...others]) Deno.writeTextFileSync(path, "secret");
  using outside = folder();
  const outsider = join(outside.path, left("f"));
  Deno.writeTextFileSync(outsider, "kept");
  Deno.symlinkSync(outside.path, join(dir.path, "link"));
  Deno.symlinkSync(outsider, join(below, left("f")));
  strictEqual(await removeTemporaryFiles(dir.path, "f", 2), 2);
  for (const path of ours) await rejects(Deno.lstat(path), Deno.errors.NotFound);
  for (const path of [...others, outsider]) ok(Deno.lstatSync(path).isFile, path);
  strictEqual(await removeTemporaryFiles(join(dir.path, "none"), "f", 0), 0);
  await rejects(removeTemporaryFiles(outsider, "f", 0), { code: "io" });
});

Deno.test("writeAtomic: the file gets its mode, and a failure leaves nothing", async () => {
  using dir = folder();
  const path = join(dir.path, "f");
  await systemFiles.writeAtomic(path, "x", { mode: 0o644 });
  strictEqual((Deno.statSync(path).mode ?? 0) & 0o777, 0o644);
  const { remove } = Deno;
  await replacing(Deno, {
    rename: () => Promise.reject(new Error("unusual")),
    async remove(path) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      await remove(path);
    },
  }, () => rejects(systemFiles.writeAtomic(path, "y", { mode: 0o600 }), { code: "io" }));
  deepStrictEqual([...Deno.readDirSync(dir.path)].map(({ name }) => name), ["f"]);
  strictEqual(Deno.readTextFileSync(path), "x");
});

Deno.test({
  name: "writeAtomic: the file gets its owner",
  ignore: Deno.uid() !== 0,
  async fn() {
    using dir = folder();
    const path = join(dir.path, "f");
    await systemFiles.writeAtomic(path, "x", { mode: 0o600, owner: { uid: 12, gid: 13 } });
    const { uid, gid, mode } = Deno.statSync(path);
    deepStrictEqual([uid, gid, (mode ?? 0) & 0o777], [12, 13, 0o600]);
  },
});

Deno.test("writeAtomic: does not change the target of a symbolic link that replaces the temporary file", async () => {
  using dir = folder();
  const target = join(dir.path, "target");
  Deno.writeTextFileSync(target, "kept", { mode: 0o600 });
  const written = join(dir.path, "written");
  Deno.mkdirSync(written);
  // Another thread simulates an attacker that replaces each temporary file by a link.
  const attack = `
    self.onmessage = ({ data: { folder, target } }) => {
      self.postMessage(0);
      while (true) {
        for (const { name } of Deno.readDirSync(folder)) {
          if (!name.endsWith(".tmp")) continue;
          try {
            Deno.removeSync(folder + "/" + name);
            Deno.symlinkSync(target, folder + "/" + name);
            self.postMessage(1);
          } catch { /* too late */ }
        }
      }
    };`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(attack)}`, {
    type: "module",
  });
  let swaps = -1;
  const started = Promise.withResolvers<void>();
  worker.onmessage = () => ++swaps === 0 && started.resolve();
  worker.postMessage({ folder: written, target });
  await started.promise;
  const us = Deno.statSync(target);
  const owner = Deno.uid() === 0 ? { uid: 4711, gid: 4711 } : {};
  try {
    for (let i = 0; i < 20_000 && swaps < 50; i++) {
      const path = join(written, `f${i % 10}`);
      await systemFiles.writeAtomic(path, "new", { mode: 0o644, ...owner }).catch(() => {});
      await Deno.remove(path).catch(() => {});
    }
  } finally {
    worker.terminate();
  }
  ok(swaps > 0, "no temporary file was replaced in time");
  const { mode, uid, gid } = Deno.statSync(target);
  deepStrictEqual([(mode ?? 0) & 0o777, uid, gid], [0o600, us.uid, us.gid]);
});

Deno.test("writeAtomic: rejects links and folders, and does not touch their content", async () => {
  using dir = folder();
  const target = join(dir.path, "target");
  Deno.writeTextFileSync(target, "kept");
  Deno.symlinkSync(target, join(dir.path, "link"));
  Deno.mkdirSync(join(dir.path, "folder"));
  for (const name of ["link", "folder"]) {
    await rejects(systemFiles.writeAtomic(join(dir.path, name), "x", MODE), { code: "io" });
  }
  strictEqual(Deno.readTextFileSync(target), "kept");
  const names = [...Deno.readDirSync(dir.path)].map(({ name }) => name).sort();
  deepStrictEqual(names, ["folder", "link", "target"]);
  const nowhere = join(dir.path, "none", "f");
  await rejects(systemFiles.writeAtomic(nowhere, "x", MODE), { code: "io" });
});

Deno.test("stat and list: the stamp changes with the content; names are sorted, and none for a missing folder", async () => {
  using dir = folder();
  const path = join(dir.path, "f");
  strictEqual(await systemFiles.stat(path), undefined);
  strictEqual(await systemFiles.stat(join(path, "below")), undefined);
  Deno.writeTextFileSync(path, "a");
  const first = await systemFiles.stat(path);
  strictEqual(first?.kind, "file");
  await systemFiles.writeAtomic(path, "b", MODE);
  ok((await systemFiles.stat(path))?.stamp !== first?.stamp);
  Deno.writeTextFileSync(join(dir.path, "a"), "");
  deepStrictEqual(await systemFiles.list(dir.path), ["a", "f"]);
  deepStrictEqual(await systemFiles.list(join(dir.path, "none")), []);
});

Deno.test("sleep: rejects with the reason of its signal, immediately if it is already aborted", async () => {
  const stop = new AbortController();
  const sleeping = systemClock.sleep(2 ** 33, { signal: stop.signal });
  let ended = false;
  sleeping.catch(() => ended = true);
  await new Promise((resolve) => setTimeout(resolve, 30));
  ok(!ended, "a month was over at once");
  stop.abort(new Error("stop"));
  await rejects(sleeping, /stop/);
  await rejects(systemClock.sleep(1, { signal: stop.signal }), /stop/);
});

Deno.test("isMemoryBacked: distinguishes in-memory from other file systems", async () => {
  strictEqual(await isMemoryBacked("/dev/shm"), true);
  strictEqual(await isMemoryBacked("/proc"), false);
  await rejects(isMemoryBacked("/proc/no/such/folder"), { code: "ENOENT" });
});
