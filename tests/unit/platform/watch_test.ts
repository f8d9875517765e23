// deno-lint-ignore-file no-sync-fn-in-async-fn
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { watchPaths } from "../../../lib/platform/watch.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { replacing } from "../../fakes/runtime.ts";

const SCAN_MS = 800;

/** A watch of paths in a temporary folder, whose scans a virtual clock starts. */
class Stage implements Disposable {
  readonly dir = Deno.makeTempDirSync();
  readonly clock = new FakeClock();
  readonly reported: string[] = [];
  /** Paths whose file system was checked. */
  readonly checked: string[] = [];
  #watch: Disposable | undefined;

  path(...names: string[]): string {
    return join(this.dir, ...names);
  }

  write(path: string, text: string): void {
    Deno.writeTextFileSync(path, text);
  }

  watch(paths: readonly string[], isLocal: (path: string) => Promise<boolean>): Disposable {
    this.#watch = watchPaths(paths, (path) => this.reported.push(path), {
      clock: this.clock,
      isLocal: (path) => {
        this.checked.push(path);
        return isLocal(path);
      },
    });
    return this.#watch;
  }

  /** Makes changes, each followed by a scan, until one of them is reported. */
  async until(path: string, change: (i: number) => void): Promise<void> {
    this.reported.length = 0;
    for (let i = 0; !this.reported.includes(path); i++) {
      if (i === 200) throw new Error(`${path} is not reported`);
      change(i);
      await this.scan();
    }
  }

  /** Advances the clock to the next scan. */
  async scan(): Promise<void> {
    await this.clock.advance(SCAN_MS);
    await Deno.lstat(this.dir); // time for an asynchronous scan
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
    Deno.removeSync(this.dir, { recursive: true });
  }
}

const LOCAL = () => Promise.resolve(true);
const REMOTE = () => Promise.resolve(false);

for (const [kind, isLocal] of Object.entries({ local: LOCAL, remote: REMOTE })) {
  Deno.test(`watchPaths: reports changes of a file on a ${kind} file system`, async () => {
    using stage = new Stage();
    const path = stage.path("late", "config.json");
    stage.watch([path], isLocal);
    await stage.scan();
    Deno.mkdirSync(stage.path("late"));
    await stage.until(path, (i) => stage.write(path, "1".repeat(i + 1)));
    await stage.until(path, () => {
      stage.write(`${path}.new`, "2");
      Deno.renameSync(`${path}.new`, path);
    });
    Deno.removeSync(path);
    await stage.until(path, () => {});
  });

  Deno.test(`watchPaths: reports changes below a folder on a ${kind} file system`, async () => {
    using stage = new Stage();
    const folder = stage.path("socket");
    const socket = stage.path("socket", "d1", "api.sock");
    stage.watch([folder], isLocal);
    await stage.until(folder, (i) => {
      if (i % 2 === 0) Deno.mkdirSync(folder);
      else Deno.removeSync(folder, { recursive: true });
    });
    Deno.mkdirSync(stage.path("socket", "d1"), { recursive: true });
    await stage.until(socket, (i) => stage.write(socket, `${i}`));
    Deno.renameSync(folder, `${folder}.old`);
    await stage.until(socket, () => {});
    ok(stage.reported.includes(folder));
    Deno.mkdirSync(stage.path("socket", "d1"), { recursive: true });
    await stage.until(socket, (i) => stage.write(socket, `${i}`));
  });
}

Deno.test("watchPaths: follows a replaced link, as Kubernetes replaces the data of a secret", async () => {
  using stage = new Stage();
  for (const name of ["one", "two"]) {
    Deno.mkdirSync(stage.path(name));
    stage.write(stage.path(name, "f"), name);
  }
  const path = stage.path("f");
  Deno.symlinkSync(join("..data", "f"), path);
  stage.watch([path], LOCAL);
  await stage.until(path, (i) => {
    Deno.symlinkSync(i % 2 === 0 ? "one" : "two", stage.path("..tmp"));
    Deno.renameSync(stage.path("..tmp"), stage.path("..data"));
  });
});

Deno.test("watchPaths: finds a file that was written in place in an old folder within ten seconds", async () => {
  using stage = new Stage();
  const folder = stage.path("config");
  const file = stage.path("config", "config.json");
  Deno.mkdirSync(folder);
  stage.watch([folder], LOCAL);
  await stage.until(file, (i) => stage.write(file, "1".repeat(i + 1)));
  // The folder changed a moment ago.
  stage.write(file, "2");
  stage.reported.length = 0;
  await stage.scan();
  deepStrictEqual(stage.reported, [file]);
  for (let i = 0; i < 40; i++) await stage.scan();
  stage.reported.length = 0;
  let scans = 0;
  await stage.until(file, (i) => {
    if (i === 0) stage.write(file, "33");
    scans++;
  });
  ok(scans <= 13, `found after ${scans} scans`);
  // Does not depend on the full scan: the time of the folder changes.
  for (const name of ["a", "b", "c"]) {
    for (let i = 0; i < 40; i++) await stage.scan();
    stage.write(stage.path("config", name), "");
    stage.reported.length = 0;
    await stage.scan();
    deepStrictEqual(stage.reported, [stage.path("config", name)]);
  }
});

Deno.test("watchPaths: checks few paths per scan, and each within ten seconds", async () => {
  using stage = new Stage();
  const folder = stage.path("config");
  const files = Array.from({ length: 50 }, (_, i) => join(folder, `d${i}`, "config.json"));
  for (const file of files) {
    Deno.mkdirSync(join(file, ".."), { recursive: true });
    stage.write(file, "1");
  }
  stage.watch([folder], LOCAL);
  const last = join(folder, "last");
  await stage.until(last, (i) => stage.write(last, "1".repeat(i + 1)));
  for (let i = 0; i < 40; i++) await stage.scan();
  stage.reported.length = 0;
  const { readDirSync, lstatSync } = Deno;
  const examined = new Set<string>();
  Deno.lstatSync = (path) => (examined.add(String(path)), lstatSync(path));
  Deno.readDirSync = () => ok(false, "no folder has changed") as never;
  try {
    await stage.scan();
    ok(examined.size <= 10, `${examined.size} paths in one scan`);
    for (const file of files) stage.write(file, "22");
    for (let i = 0; i < 12; i++) await stage.scan();
    deepStrictEqual(stage.reported.toSorted(), files.toSorted());
  } finally {
    Object.assign(Deno, { readDirSync, lstatSync });
  }
  // New folders are found by the next scan.
  Deno.mkdirSync(join(folder, "new"));
  await stage.scan();
  ok(stage.reported.includes(join(folder, "new")));
});

Deno.test("watchPaths: checks the file system of a path again when the path is created", async () => {
  using stage = new Stage();
  const path = stage.path("f");
  stage.watch([path], LOCAL);
  for (let i = 0; i < 5; i++) await stage.scan();
  deepStrictEqual(stage.checked, [path]);
  await stage.until(path, (i) => stage.write(path, "1".repeat(i + 1)));
  for (let i = 0; i < 5; i++) await stage.scan();
  deepStrictEqual(stage.checked, [path, path]);
});

Deno.test("watchPaths: makes asynchronous calls only on a file system that may not be local", async () => {
  const callsFor = async (path: string) => {
    const clock = new FakeClock();
    const started = Promise.withResolvers<void>();
    let calls = 0;
    const stat = () => {
      calls++;
      started.resolve();
      return Promise.reject(new Deno.errors.NotFound());
    };
    await replacing(Deno, { stat }, async () => {
      using _watch = watchPaths([path], () => {}, { clock });
      await started.promise;
      await flushTasks();
      for (let i = 0; i < 5; i++) await clock.advance(SCAN_MS);
    });
    return calls;
  };
  strictEqual(await callsFor("/dev/none/none"), 1);
  strictEqual(await callsFor("/proc/none/none"), 6);
});

Deno.test("watchPaths: a file system that does not answer delays no other path", async () => {
  using stage = new Stage();
  const [hung, path] = [stage.path("hung"), stage.path("f")];
  stage.watch([hung, path], (checked) => checked === hung ? new Promise(() => {}) : LOCAL());
  await stage.until(path, (i) => stage.write(path, "1".repeat(i + 1)));
  deepStrictEqual(stage.checked.filter((checked) => checked === hung), [hung]);
});

for (const [tookMs, pauseMs] of [[8, 800], [40, 4_000], [1_000, 10_000]] as const) {
  Deno.test(`watchPaths: pauses for ${pauseMs} ms after a scan of ${tookMs} ms`, async () => {
    using stage = new Stage();
    const isLocal = Promise.withResolvers<boolean>();
    const scannedAtMs: number[] = [];
    await replacing(Deno, {
      stat(path) {
        scannedAtMs.push(stage.clock.monotonicMs());
        return Promise.resolve(Deno.statSync(path));
      },
      lstat: () => Promise.reject(new Deno.errors.NotFound()),
      readDir: () => (async function* () {})(),
    }, async () => {
      stage.watch([stage.dir], () => isLocal.promise);
      await stage.clock.advance(tookMs);
      isLocal.resolve(false);
      await flushTasks();
      await stage.clock.advance(2 * pauseMs + SCAN_MS);
    });
    const [firstMs = 0, secondMs = 0] = scannedAtMs;
    strictEqual(firstMs, tookMs);
    strictEqual(secondMs, Math.ceil(pauseMs / SCAN_MS) * SCAN_MS);
  });
}

Deno.test("watchPaths: reports at most 1,000 changes of a scan, and files up to three levels below", async () => {
  using stage = new Stage();
  const third = stage.path("1", "2", "3");
  Deno.mkdirSync(stage.path("1", "2", "deep"), { recursive: true });
  stage.watch([stage.dir], LOCAL);
  await stage.until(third, (i) => {
    stage.write(third, "1".repeat(i + 1));
    stage.write(stage.path("1", "2", "deep", "4"), "1".repeat(i + 1));
  });
  ok(!stage.reported.some((path) => path.endsWith("4")));
  stage.reported.length = 0;
  for (let i = 0; i < 1_001; i++) stage.write(stage.path(`f${i}`), "");
  await stage.scan();
  strictEqual(stage.reported.length, 1_000);
});

Deno.test("watchPaths: reports nothing after it was disposed", async () => {
  using stage = new Stage();
  const path = stage.path("f");
  const watch = stage.watch([path], LOCAL);
  await stage.until(path, (i) => stage.write(path, "1".repeat(i + 1)));
  watch[Symbol.dispose]();
  stage.write(path, "2");
  stage.reported.length = 0;
  for (let i = 0; i < 3; i++) await stage.scan();
  deepStrictEqual(stage.reported, []);
});

const CONFIG = new URL("../../../deno.json", import.meta.url).pathname;

/** Runs in another process, because a blocked watch would block the test. */
const BESIDE_A_PIPE = `
import { systemFiles } from "${new URL("../../../lib/platform/mod.ts", import.meta.url)}";
const [dir] = Deno.args;
let isWritten = false;
using _watch = systemFiles.watch([dir + "/f", dir], (_path, watched) => {
  if (isWritten && watched === dir + "/f") Deno.exit(7);
});
await Deno.writeTextFile(dir + "/f", "1");
await new Deno.Command("mkfifo", { args: [dir + "/beside"] }).output();
for (let i = 0;; i++) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  await Deno.writeTextFile(dir + "/f", String(i));
  isWritten = true;
}
`;

Deno.test("systemFiles.watch: is not blocked by a named pipe", async () => {
  const dir = Deno.makeTempDirSync();
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--config", CONFIG, BESIDE_A_PIPE, dir],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const giveUp = setTimeout(() => process.kill("SIGKILL"), 30_000);
  const { code } = await process.status;
  clearTimeout(giveUp);
  Deno.removeSync(dir, { recursive: true });
  strictEqual(code, 7, "the process was blocked");
});
