import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type DeliveryOutcome, type FileOutcome, Secret } from "../../../lib/model/mod.ts";
import {
  type InstanceRecord,
  recordAfterDelivery,
  retryDelayMs,
} from "../../../lib/reconciler/mounts.ts";

const NOW = { wallMs: 1_000_000, monotonicMs: 5_000 };
const OLD = new Secret("old");
const NEW = new Secret("new");
const BEFORE: InstanceRecord = {
  state: "stored",
  failures: 0,
  currentAuth: OLD,
  fileFingerprint: "old",
  storedAtMs: 1,
  deliveredAtMs: 1,
  confirmedAtMs: 1,
  provenReads: 7,
};

function after(outcome: DeliveryOutcome, before = BEFORE): InstanceRecord {
  return recordAfterDelivery(before, outcome, { fingerprint: "new", auth: NEW }, NOW);
}

const WRITTEN: FileOutcome = { kind: "written" };
const FAILED: FileOutcome = { kind: "failed", detail: "EROFS" };
const detail = "a reason";

Deno.test("recordAfterDelivery: an outcome determines the state, the current credential and the retry", () => {
  type Row = readonly [
    DeliveryOutcome,
    state: string,
    currentAuth: Secret,
    file: string,
    failures: number,
  ];
  const table: readonly Row[] = [
    [{ kind: "delivered", file: WRITTEN }, "stored", NEW, "new", 0],
    [{ kind: "unchanged", file: { kind: "unchanged" } }, "stored", NEW, "new", 0],
    [{ kind: "delivered", file: { kind: "secret-free" } }, "stored", NEW, "new", 0],
    [{ kind: "delivered", file: { kind: "absent" } }, "stored", NEW, "new", 0],
    [{ kind: "delivered", file: FAILED }, "stored", NEW, "old", 1],
    [{ kind: "file-only", file: WRITTEN, detail }, "file-only", OLD, "new", 0],
    [{ kind: "file-only", file: FAILED, detail }, "file-only", OLD, "old", 1],
    [{ kind: "rejected", file: WRITTEN, detail }, "refused", OLD, "new", 1],
    [{ kind: "unreachable", file: WRITTEN, detail }, "unreachable", OLD, "new", 1],
    [{ kind: "unsupported", file: { kind: "skipped" }, detail }, "unsupported", OLD, "new", 0],
  ];
  for (const [outcome, state, currentAuth, file, failures] of table) {
    const record = after(outcome);
    deepStrictEqual(
      [record.state, record.currentAuth, record.fileFingerprint, record.failures],
      [state, currentAuth, file, failures],
      `${outcome.kind}, file ${outcome.file.kind}`,
    );
    strictEqual(record.retryAtMs, failures === 0 ? undefined : NOW.monotonicMs + retryDelayMs(1));
    strictEqual(record.file, outcome.file);
  }
});

Deno.test("recordAfterDelivery: records since when nydusd has the credential", () => {
  const timesOf = ({ storedAtMs, deliveredAtMs, confirmedAtMs, provenReads }: InstanceRecord) => [
    storedAtMs,
    deliveredAtMs,
    confirmedAtMs,
    provenReads,
  ];
  const { wallMs, monotonicMs } = NOW;
  deepStrictEqual(timesOf(after({ kind: "delivered", file: WRITTEN })), [
    wallMs,
    wallMs,
    monotonicMs,
    undefined,
  ]);
  deepStrictEqual(timesOf(after({ kind: "unchanged", file: WRITTEN })), [
    1,
    wallMs,
    monotonicMs,
    undefined,
  ]);
  const unreachable: DeliveryOutcome = { kind: "unreachable", file: { kind: "absent" }, detail };
  deepStrictEqual(timesOf(after(unreachable)), [undefined, 1, 1, undefined]);
});

Deno.test("recordAfterDelivery: details of a file failure take precedence", () => {
  strictEqual(after({ kind: "rejected", file: WRITTEN, detail }).detail, detail);
  ok(after({ kind: "rejected", file: FAILED, detail }).detail?.includes("EROFS"));
  strictEqual(after({ kind: "delivered", file: WRITTEN }).detail, undefined);
});

Deno.test("retryDelayMs: doubles from 0.5 s to 10 s", () => {
  deepStrictEqual([1, 2, 3, 4, 5, 6, 7, 100].map(retryDelayMs), [
    500,
    1_000,
    2_000,
    4_000,
    8_000,
    10_000,
    10_000,
    10_000,
  ]);
});
