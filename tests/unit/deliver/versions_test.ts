import { equal } from "node:assert/strict";
import { inUseDelayMs } from "../../../lib/deliver/mod.ts";

const TABLE: readonly [version: string, delayMs: number | undefined][] = [
  ["v1.9.9", undefined],
  ["2.3.10", undefined],
  ["v2.4.0", undefined],
  ["2.4.1", 0],
  ["v2.4.1-rc1", 0],
  ["2.4.2", 5_000],
  ["v2.4.4", 5_000],
  ["2.10.0", 5_000],
  ["10.0.0", 5_000],
  ["", 5_000],
  ["a build of ours", 5_000],
];

for (const [version, delayMs] of TABLE) {
  Deno.test(`inUseDelayMs of "${version}" is ${delayMs}`, () => {
    equal(inUseDelayMs(version), delayMs);
  });
}
