import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { ProcessRequest, ProcessResult } from "../../../lib/model/mod.ts";
import { systemProcessRunner } from "../../../lib/platform/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";

function shell(script: string, more: Partial<ProcessRequest> = {}): ProcessRequest {
  return {
    path: "/bin/sh",
    args: ["-c", script],
    env: {},
    stdin: "",
    timeoutMs: 60_000,
    maxStdoutBytes: 1024 * 1024,
    ...more,
  };
}

function runner() {
  const clock = new FakeClock();
  return { clock, run: systemProcessRunner(clock) };
}

/** Advances the clock past timeouts and grace periods until the child is done. */
async function untilDone<T>(clock: FakeClock, running: Promise<T>): Promise<T> {
  let done = false;
  const watched = running.finally(() => done = true);
  watched.catch(() => {});
  while (!done) {
    await clock.advance(1_000);
    // Children run in real time.
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return await watched;
}

/** Returns whether a process exists and is not a zombie. */
async function isRunning(pid: string): Promise<boolean> {
  const { stdout } = await new Deno.Command("/bin/sh", {
    args: ["-c", `cat /proc/${Number(pid)}/stat 2>/dev/null || true`],
  }).output();
  const stat = new TextDecoder().decode(stdout);
  return stat !== "" && !/\) [ZX] /.test(stat);
}

async function gone(pid: string): Promise<boolean> {
  for (let i = 0; i < 200; i++) {
    if (!await isRunning(pid)) return true;
  }
  return false;
}

/** Runs a script that writes a PID to a file when it is ready. */
async function withPidFile(test: (path: string, pid: () => Promise<string>) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/pid`;
  const pid = async () => {
    while (true) {
      const text = await Deno.readTextFile(path).catch(() => "");
      if (text.endsWith("\n")) return text.trim();
    }
  };
  try {
    await test(path, pid);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("systemProcessRunner: passes stdin, arguments and environment, and returns the outputs", async () => {
  const { clock, run } = runner();
  const result = await run.run(
    shell('printf "%s %s %s" "$(cat)" "$ADDED" "${PATH:+ours}"; echo oops >&2; exit 3', {
      stdin: "hello\n",
      env: { ADDED: "added" },
    }),
  );
  deepEqual(result, { kind: "exited", code: 3, stdout: "hello added ours", stderr: "oops\n" });
  equal(clock.sleeping, 0, "its timers are stopped");
});

Deno.test("systemProcessRunner: reports why a child was not started", async () => {
  const { run } = runner();
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/plain`, "x", { mode: 0o644 });
    await Deno.writeTextFile(`${folder}/orphan`, "#!/no/such/interpreter\n", { mode: 0o755 });
    const why = async (path: string) => {
      const result = await run.run(shell("", { path }));
      return result.kind === "not-started" ? result.reason : result.kind;
    };
    equal(await why(`${folder}/nothing`), "missing");
    equal(await why(`${folder}/plain`), "not-executable");
    equal(await why(folder), "not-executable");
    equal(await why(`${folder}/orphan`), "not-executable");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("systemProcessRunner: kills the process group at the timeout", async () => {
  await withPidFile(async (path, pid) => {
    const { clock, run } = runner();
    const running = run.run(shell(`sleep 600 & echo $! > ${path}; wait`));
    const child = await pid();
    equal((await untilDone(clock, running)).kind, "timed-out");
    ok(await gone(child), "the plugin's child is gone as well");
  });
});

Deno.test("systemProcessRunner: kills a group that ignores TERM", async () => {
  await withPidFile(async (path, pid) => {
    const { clock, run } = runner();
    const running = run.run(shell(`trap '' TERM; echo $$ > ${path}; while :; do sleep 1; done`));
    const child = await pid();
    equal((await untilDone(clock, running)).kind, "timed-out");
    ok(await gone(child));
  });
});

Deno.test("systemProcessRunner: sends TERM at the timeout, and KILL a second later", async () => {
  await withPidFile(async (path, pid) => {
    const { clock, run } = runner();
    const script = `trap 'echo term >> ${path}' TERM; echo $$ > ${path}; while :; do sleep 1; done`;
    const running = run.run(shell(script, { timeoutMs: 5_000 }));
    const child = await pid();
    await clock.advance(4_999);
    equal(await pid(), child);
    await clock.advance(1);
    while (await pid() !== `${child}\nterm`);
    await clock.advance(999);
    ok(await isRunning(child));
    await clock.advance(1);
    equal((await running).kind, "timed-out");
    ok(await gone(child));
  });
});

Deno.test("systemProcessRunner: abandons a pipe that a process outside of the group keeps open", async () => {
  await withPidFile(async (path, pid) => {
    const { clock, run } = runner();
    const running = run.run(shell(`setsid sh -c 'echo $$ > ${path}; exec sleep 600' & printf out`));
    const survivor = await pid();
    const result = await untilDone(clock, running);
    deepEqual(result, { kind: "exited", code: 0, stdout: "out", stderr: "" });
    Deno.kill(Number(survivor), "SIGKILL");
  });
});

Deno.test("systemProcessRunner: waits for output of a background process until the timeout", async () => {
  const { run } = runner();
  const late = await run.run(shell("(sleep 0.05; printf late) & exit 0"));
  deepEqual(late, { kind: "exited", code: 0, stdout: "late", stderr: "" });
  await withPidFile(async (path, pid) => {
    const { clock, run } = runner();
    const running = run.run(shell(`sleep 600 & echo $! > ${path}; printf early`));
    const left = await pid();
    const result = await untilDone(clock, running);
    deepEqual(result, { kind: "exited", code: 0, stdout: "early", stderr: "" });
    ok(await gone(left));
  });
});

Deno.test("systemProcessRunner: kills background processes in the group of an exited child", async () => {
  await withPidFile(async (path, pid) => {
    const { run } = runner();
    const result = await run.run(
      shell(`sleep 600 >/dev/null 2>&1 </dev/null & echo $! > ${path}; printf out`),
    );
    deepEqual(result, { kind: "exited", code: 0, stdout: "out", stderr: "" });
    ok(await gone(await pid()));
  });
});

Deno.test("systemProcessRunner: does not kill a process in its own session", async () => {
  await withPidFile(async (path, pid) => {
    const { run } = runner();
    await run.run(shell(
      `setsid sh -c 'echo $$ > ${path}; exec sleep 600' >/dev/null 2>&1 </dev/null &
      while [ ! -s ${path} ]; do sleep 0.01; done`,
    ));
    const left = await pid();
    ok(await isRunning(left));
    Deno.kill(Number(left), "SIGKILL");
  });
});

Deno.test("systemProcessRunner: stops a child with endless output", async () => {
  const { clock, run } = runner();
  const request = shell("yes", { maxStdoutBytes: 100_000 });
  equal((await untilDone(clock, run.run(request))).kind, "too-much-output");
  const exact = await runner().run.run(shell("printf 12345", { maxStdoutBytes: 5 }));
  equal(exact.kind === "exited" && exact.stdout, "12345");
  const beyond = runner();
  const running = beyond.run.run(shell("printf 123456", { maxStdoutBytes: 5 }));
  equal((await untilDone(beyond.clock, running)).kind, "too-much-output");
});

Deno.test("systemProcessRunner: closes the pipe of a child with endless output immediately", {
  ignore: /^2\.[0-8]\./.test(Deno.version.deno), // the pipe is closed when the child has ended there
}, async () => {
  await withPidFile(async (path, pid) => {
    const { clock, run } = runner();
    const script = `trap '' TERM; yes 2>/dev/null; echo $$ > ${path}; sleep 600`;
    const running = run.run(shell(script, { maxStdoutBytes: 100_000 }));
    await pid(); // `yes` has ended before any time has passed
    equal((await untilDone(clock, running)).kind, "too-much-output");
  });
});

Deno.test("systemProcessRunner: keeps 4 KiB of stderr without stopping the child", async () => {
  const { run } = runner();
  const result = await run.run(shell("head -c 300000 /dev/zero | tr '\\0' e >&2; printf done"));
  if (result.kind !== "exited") throw new Error(result.kind);
  equal(result.stdout, "done");
  match(result.stderr, /^e{4096}$/);
});

Deno.test("systemProcessRunner: handles a child that does not read its stdin", async () => {
  const stdin = "x".repeat(1_000_000);
  const early = await runner().run.run(shell("printf ok", { stdin }));
  equal(early.kind === "exited" && early.stdout, "ok");
  const closed = await runner().run.run(shell("exec <&-; printf ok", { stdin }));
  equal(closed.kind === "exited" && closed.stdout, "ok");
  const { clock, run } = runner();
  equal((await untilDone(clock, run.run(shell("sleep 600", { stdin })))).kind, "timed-out");
});

Deno.test("systemProcessRunner: an abort kills the group and rejects with its reason", async () => {
  await withPidFile(async (path, pid) => {
    const { clock, run } = runner();
    const stop = new AbortController();
    const running: Promise<ProcessResult> = run.run(
      shell(`sleep 600 & echo $! > ${path}; wait`),
      { signal: stop.signal },
    );
    const child = await pid();
    stop.abort(new Error("stop"));
    await rejects(untilDone(clock, running), /stop/);
    ok(await gone(child));
  });
  await rejects(
    runner().run.run(shell("true"), { signal: AbortSignal.abort(new Error("no")) }),
    /no/,
  );
});

Deno.test("systemProcessRunner: reports a child that was killed by a signal as an exit", async () => {
  const result = await runner().run.run(shell("kill -KILL $$"));
  equal(result.kind === "exited" && result.code !== 0, true);
});
