/** Checks that a deliberate leak into each sink is found. */
import { deepStrictEqual, ok } from "node:assert/strict";
import { join } from "node:path";
import { CanaryDetector, newTokenCanary } from "../../canary/detector.ts";
import {
  type CapturedText,
  descendants,
  filesBelow,
  OpenFileWatch,
  pages,
  ProcessWatch,
} from "../../canary/sinks.ts";

const SECRET = newTokenCanary();
const detector = new CanaryDetector({ planted: SECRET });

function places(captured: readonly CapturedText[]): string[] {
  return captured.filter(({ text }) => detector.find(text).length > 0).map(({ where }) => where);
}

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Runs a process whose child has a variable and an argument, and kills both at the end. */
async function withParent(
  { own = "x", argument = "x" },
  work: (pid: number, watch: ProcessWatch) => Promise<void>,
): Promise<void> {
  const script = '/bin/sh -c "/bin/sleep 60; :" "$1" & wait';
  const process = new Deno.Command("/bin/sh", {
    args: ["-c", script, "sh", argument],
    env: { OWN: own },
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const watch = new ProcessWatch(process.pid);
  try {
    await until(() => watch.children.size >= 2);
    await work(process.pid, watch);
  } finally {
    watch[Symbol.dispose]();
    for (const pid of [...descendants(process.pid), process.pid]) Deno.kill(pid, "SIGKILL");
    await process.status;
  }
}

Deno.test("pages: captures bodies and headers of every page and of unknown paths", async () => {
  const requested: string[] = [];
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  let leaking = "";
  await using server = Deno.serve(options, (request) => {
    const path = new URL(request.url).pathname;
    const page = `${request.method} ${path}`;
    requested.push(page);
    return page === leaking
      ? new Response(null, { status: 404, headers: { "x-detail": btoa(`u:${SECRET}`) } })
      : new Response("fine");
  });
  const base = `http://127.0.0.1:${server.addr.port}`;
  deepStrictEqual(places(await pages(base)), []);
  for (const page of new Set(requested)) {
    leaking = page;
    ok(places(await pages(base)).some((where) => where.startsWith(`page ${page}`)), page);
  }
});

Deno.test("ProcessWatch: captures the environment of the process and its children", async () => {
  await withParent({ own: SECRET }, (_pid, watch) => {
    deepStrictEqual(
      new Set(places(watch.captured)),
      new Set(["environ of the agent", CHILD_ENVIRON]),
    );
    return Promise.resolve();
  });
});

Deno.test("ProcessWatch: captures the arguments of all descendants", async () => {
  await withParent({ argument: SECRET }, (_pid, watch) => {
    ok(places(watch.captured).includes("cmdline of a child"), "a child");
    ok(places(watch.captured).includes("cmdline of the agent"), "the process itself");
    return Promise.resolve();
  });
});

Deno.test("ProcessWatch: captures no secret if there is none", async () => {
  await withParent({}, (pid, watch) => {
    deepStrictEqual(places(watch.captured), []);
    ok(watch.captured.length >= 4 && descendants(pid).length >= 2);
    return Promise.resolve();
  });
});

const CHILD_ENVIRON = "environ of a child";

Deno.test("filesBelow: returns all files with their modes, also hidden and binary ones", async () => {
  await withFolder(async (folder) => {
    await Deno.mkdir(join(folder, "a", "b"), { recursive: true });
    await Deno.writeTextFile(join(folder, "a", "fine"), "nothing");
    const path = join(folder, "a", "b", ".x.tmp");
    const bytes = new Uint8Array([0, 255, 128, ...new TextEncoder().encode(SECRET), 0]);
    await Deno.writeFile(path, bytes, { mode: 0o644 });
    const found = filesBelow([folder, join(folder, "missing")])
      .filter(({ text }) => detector.find(text).length > 0);
    deepStrictEqual(found.map(({ path, mode }) => ({ path, mode })), [{ path, mode: 0o644 }]);
  });
});

Deno.test("OpenFileWatch: finds a file that is readable by others before its mode is changed", async () => {
  await withFolder(async (folder) => {
    await using watch = new OpenFileWatch([folder]);
    const path = join(folder, "late");
    await Deno.writeTextFile(join(folder, "private"), SECRET, { mode: 0o600 });
    await Deno.mkdir(join(folder, "hidden"), { mode: 0o700 });
    await Deno.writeTextFile(join(folder, "hidden", "open"), SECRET, { mode: 0o644 });
    await Deno.writeTextFile(path, SECRET, { mode: 0o644 });
    await until(() => watch.found.size > 0);
    await Deno.chmod(path, 0o600);
    deepStrictEqual([...watch.found], [`${path} 644`]);
  });
});
