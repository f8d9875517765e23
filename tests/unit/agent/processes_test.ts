import { deepEqual, equal, ok } from "node:assert/strict";
import { findKubelet, findProcesses, flagOf } from "../../../lib/agent/check_host.ts";
import { systemClock, systemProcessRunner } from "../../../lib/platform/mod.ts";
import { FakeProcessRunner } from "../../fakes/process.ts";

const runner = systemProcessRunner(systemClock);

Deno.test("findProcesses: returns the arguments of real processes", async () => {
  const mark = `page-${crypto.randomUUID()}`;
  const args = ["-c", "read line", mark, "two words", "", "a\nb", "--x=ü"];
  const child = new Deno.Command("/bin/sh", {
    args,
    stdin: "piped",
    stdout: "null",
  }).spawn();
  try {
    const found = await findProcesses(runner, mark);
    const own = found?.find(({ pid }) => pid === child.pid);
    deepEqual(own?.argv, ["/bin/sh", ...args.map((arg) => arg.replace("\n", " "))]);
    const status = await Deno.stat(`/proc/${child.pid}`);
    const differenceMs = (own?.startedAtMs ?? 0) -
      (status.birthtime ?? status.mtime ?? new Date(0)).getTime();
    ok(Math.abs(differenceMs) < 60_000, `${differenceMs}`);
  } finally {
    await child.stdin.close();
    await child.status;
  }
});

Deno.test("findProcesses: returns an empty list without a match, and undefined without access", async () => {
  // The shell and grep that search have the pattern in their own arguments.
  const found = await findProcesses(runner, "no-such-[w]ord-anywhere");
  deepEqual(found?.filter(({ argv }) => !/(?:sh|grep)$/.test(argv[0] ?? "")), []);
  const failing = new FakeProcessRunner(() => ({ kind: "not-started", reason: "missing" }));
  equal(await findProcesses(failing, "x"), undefined);
});

Deno.test("findKubelet: finds the program of that name, and flagOf the values of its flags", async () => {
  const processes = [
    "1\u0001/usr/bin/kubelet-helper\u0001",
    "2 50\u0001/bin/kubelet\u0001--a=x\u0001--b\u0001y\u0001",
  ];
  const fake = new FakeProcessRunner(() => processes.join("\n"));
  const found = await findKubelet(fake);
  deepEqual(found, { pid: 2, argv: ["/bin/kubelet", "--a=x", "--b", "y"], startedAtMs: 50_000 });
  const flags = ["--a", "--b", "--c", "y"].map((name) => found && flagOf(found, name));
  deepEqual(flags, ["x", "y", undefined, undefined]);
});
