// deno-lint-ignore-file no-sync-fn-in-async-fn
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import {
  isMemoryBacked,
  removeTemporaryFiles,
  systemClock,
  systemFiles,
} from "../../../lib/platform/mod.ts";

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
  strictEqual(await removeTemporaryFiles(join(dir.path, "none"), "f"), 0);
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

/** Resolves to the path that the watch reports after a change. */
async function reportedPath(path: string, change: () => void): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  using _watch = systemFiles.watch([path], resolve);
  const alive = setInterval(() => {}, 1_000); // the watch does not keep the process alive
  try {
    await new Promise((r) => setTimeout(r, 100));
    change();
    return await promise;
  } finally {
    clearInterval(alive);
  }
}

Deno.test("watch: reports a file that is created, written, replaced and removed", async () => {
  using dir = folder();
  const path = join(dir.path, "late", "config.json");
  await reportedPath(path, () => {
    Deno.mkdirSync(join(dir.path, "late"));
    Deno.writeTextFileSync(path, "1");
  });
  await reportedPath(path, () => Deno.writeTextFileSync(path, "22"));
  await reportedPath(path, () => {
    Deno.writeTextFileSync(`${path}.new`, "333");
    Deno.renameSync(`${path}.new`, path);
  });
  await reportedPath(path, () => Deno.removeSync(path));
});

Deno.test("watch: follows a replaced link, as Kubernetes replaces the data of a secret", async () => {
  using dir = folder();
  for (const name of ["one", "two"]) {
    Deno.mkdirSync(join(dir.path, name));
    Deno.writeTextFileSync(join(dir.path, name, "f"), name);
  }
  Deno.symlinkSync("one", join(dir.path, "..data"));
  Deno.symlinkSync(join("..data", "f"), join(dir.path, "f"));
  await reportedPath(join(dir.path, "f"), () => {
    Deno.symlinkSync("two", join(dir.path, "..tmp"));
    Deno.renameSync(join(dir.path, "..tmp"), join(dir.path, "..data"));
  });
});

Deno.test("watch: reports changes in subfolders", async () => {
  using dir = folder();
  const below = join(dir.path, "d1");
  Deno.mkdirSync(below);
  const path = await reportedPath(
    dir.path,
    () => Deno.writeTextFileSync(join(below, "config.json"), "1"),
  );
  ok(path.startsWith(below), path);
});

for (const nameAgain of ["removed", "moved away"]) {
  Deno.test(`watch goes on in a folder that is ${nameAgain} and made again`, async () => {
    using dir = folder();
    const path = join(dir.path, "socket");
    Deno.mkdirSync(path);
    let report = (_path: string) => {};
    let giveUp: ReturnType<typeof setTimeout> | undefined;
    const next = () =>
      new Promise<string>((resolve, reject) => {
        report = resolve;
        clearTimeout(giveUp);
        giveUp = setTimeout(() => reject(new Error("the watch reported nothing")), 8_000);
      });
    using _watch = systemFiles.watch([path], (changed) => report(changed));
    try {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const again = next();
      if (nameAgain === "removed") Deno.removeSync(path);
      else Deno.renameSync(path, `${path}.old`);
      await again;
      Deno.mkdirSync(join(path, "d1"), { recursive: true });
      // In a subfolder, so that the stamp of the folder does not change.
      const below = join(path, "d1", "api.sock");
      let count = 0;
      const write = setInterval(() => Deno.writeTextFileSync(below, `${count++}`), 50);
      try {
        while (await next() !== below);
      } finally {
        clearInterval(write);
      }
    } finally {
      clearTimeout(giveUp);
    }
  });
}

const CONFIG = new URL("../../../deno.json", import.meta.url).pathname;

/** Runs in another process, because a blocked watch would block the test. */
const BESIDE_A_PIPE = `
import { systemFiles } from "${new URL("../../../lib/platform/mod.ts", import.meta.url)}";
const [dir] = Deno.args;
const reported = Promise.withResolvers();
let isWritten = false;
const watch = systemFiles.watch([dir + "/f"], () => isWritten && reported.resolve());
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const other = systemFiles.watch([dir], () => {});
await pause(100);
for (const name of ["f", "beside"]) {
  await new Deno.Command("mkfifo", { args: [dir + "/" + name] }).output();
}
await pause(1_500);
other[Symbol.dispose]();
watch[Symbol.dispose]();
using again = systemFiles.watch([dir + "/f"], () => isWritten && reported.resolve());
await pause(100);
await Deno.remove(dir + "/f");
isWritten = true;
await Deno.writeTextFile(dir + "/f", "1");
await reported.promise;
Deno.exit(7);
`;

Deno.test("watch: is not blocked by a named pipe", async () => {
  using dir = folder();
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--config", CONFIG, BESIDE_A_PIPE, dir.path],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const giveUp = setTimeout(() => process.kill("SIGKILL"), 30_000);
  const { code } = await process.status;
  clearTimeout(giveUp);
  strictEqual(code, 7, "the process was blocked");
});

Deno.test("watch: reports nothing after it was disposed", async () => {
  using dir = folder();
  let count = 0;
  const watch = systemFiles.watch([join(dir.path, "f")], () => count++);
  watch[Symbol.dispose]();
  Deno.writeTextFileSync(join(dir.path, "f"), "1");
  await new Promise((resolve) => setTimeout(resolve, 300));
  strictEqual(count, 0);
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
