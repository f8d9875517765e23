import { deepEqual, equal } from "node:assert/strict";
import { findProcesses } from "../../../lib/agent/processes.ts";
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
