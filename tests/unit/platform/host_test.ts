import { equal, ok } from "node:assert/strict";
import { isJournal, systemHost } from "../../../lib/platform/host.ts";

Deno.test("isJournal: compares the standard error with JOURNAL_STREAM", () => {
  const stat = () => ({ dev: 8n, ino: 9_007_199_254_740_993n });
  equal(isJournal("8:9007199254740993", stat), true);
  equal(isJournal("8:9007199254740992", stat), false);
  equal(isJournal("9:9007199254740993", stat), false);
  equal(isJournal("", stat), false);
  equal(isJournal(undefined, stat), false);
  const closed = () => {
    throw new Error("EBADF");
  };
  equal(isJournal("8:1", closed), false);
});

Deno.test("systemHost: counts open descriptors and CPU time", async () => {
  const host = systemHost();
  const before = await host.openDescriptors() ?? 0;
  const files = await Promise.all(Array.from({ length: 9 }, () => Deno.open("/dev/null")));
  ok((await host.openDescriptors() ?? 0) >= before + 9);
  files.forEach((file) => file.close());
  const cpu = host.cpuSeconds();
  ok(cpu > 0);
  ok(host.cpuSeconds() >= cpu);
});
