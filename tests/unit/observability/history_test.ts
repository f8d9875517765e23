import { deepEqual, equal, ok } from "node:assert/strict";
import { PROVIDER_NAMES } from "../../../lib/model/mod.ts";
import { ImageHistory, ProviderStats } from "../../../lib/observability/mod.ts";
import { EVENTS, FAILED, IMAGE, RENEWED, REQUEST } from "./events.ts";
import { NOW_MS } from "./status_of.ts";

Deno.test("ImageHistory: returns the newest first and counts repetitions, also of two alternating events", () => {
  let nowMs = NOW_MS;
  const history = new ImageHistory(() => nowMs);
  for (let i = 0; i < 5; i++) {
    nowMs += 1_000;
    history.notify({ ...REQUEST, outcome: "failed", reason: "unreadable", detail: `line ${i}` });
    history.notify(FAILED);
  }
  history.notify(RENEWED);
  const record = history.of(IMAGE);
  deepEqual(
    record?.entries.map((
      { event, count, firstAtMs, atMs },
    ) => [event, count, firstAtMs - NOW_MS, atMs - NOW_MS]),
    [
      ["credential-renewed", 1, 5_000, 5_000],
      ["renewal-failed", 5, 1_000, 5_000],
      ["provider-failed", 5, 1_000, 5_000],
    ],
  );
  deepEqual(record?.results.map(({ provider, reason }) => [provider, reason]), [
    ["docker", "unreadable"],
  ]);
});

Deno.test("ImageHistory: counts renewals in the half hours of a day", () => {
  let nowMs = 0;
  const history = new ImageHistory(() => nowMs);
  const slots = () =>
    history.of(IMAGE)?.renewals.map((
      { atMs, ...counts },
    ) => [atMs / 60_000, ...Object.values(counts)]);
  for (const minutes of [30, 59, 60, 89]) {
    nowMs = minutes * 60_000;
    history.notify(RENEWED);
  }
  history.notify(FAILED);
  deepEqual(slots(), [[30, 2, 0], [60, 2, 1]]);
  for (let i = 0; i < 60; i++) {
    nowMs += 30 * 60_000;
    history.notify(FAILED);
  }
  equal(slots()?.length, 49);
  deepEqual(slots()?.at(-1), [60 + 60 * 30, 0, 1]);
});

Deno.test("ImageHistory: limits images, entries and texts, and records no secret", () => {
  const history = new ImageHistory(() => NOW_MS);
  const token = `eyJhbGciOiJIUzI1NiJ9.${"a".repeat(40)}.${"b".repeat(40)}`;
  for (let i = 0; i < 5_000; i++) {
    history.notify({ ...EVENTS["renewal-failed"], image: `r.example/i${i}` });
  }
  equal(history.of("r.example/i0"), undefined);
  ok(history.of("r.example/i4999") !== undefined);
  const word = (i: number) => String.fromCharCode(97 + i % 26, 97 + Math.floor(i / 26));
  for (let i = 0; i < 200; i++) {
    history.notify({
      ...EVENTS["renewal-failed"],
      detail: `${word(i)} ${token} ${"x ".repeat(2_000)}\u001b[31m`,
    });
  }
  const { entries = [] } = history.of(IMAGE) ?? {};
  equal(entries.length, 40);
  for (const { text } of entries) {
    ok(text.length <= 501);
    ok(!text.includes("eyJ"));
    ok(!text.includes("\u001b"));
  }
});

Deno.test("ImageHistory: ignores events without a change or without an image", () => {
  const history = new ImageHistory(() => NOW_MS);
  history.notify({ ...REQUEST, outcome: "none", reason: "no-config-file" });
  history.notify(EVENTS["daemon-state-changed"]);
  deepEqual(history.of(IMAGE)?.entries, []);
  equal(history.of(IMAGE)?.results.length, 1);
});

Deno.test("ProviderStats: counts requests and executions, with the last result and failure, for a limited number of plugins", () => {
  const stats = new ProviderStats(() => NOW_MS);
  stats.notify({ ...REQUEST, outcome: "failed", reason: "unreadable", detail: "no" });
  stats.notify({ ...REQUEST, outcome: "none", reason: "no-config-file" });
  const ran = EVENTS["plugin-executed"];
  stats.notify({ ...ran, plugin: "other", provider: "docker", detail: "no" });
  const first = stats.status().plugins;
  deepEqual(
    first.map(({ executions, failures, lastFailure }) => [executions, failures, lastFailure]),
    [
      [1, 1, { detail: "timeout: no", atMs: NOW_MS }],
    ],
  );
  stats.notify({ ...ran, durationMs: 5 });
  stats.notify({ ...ran, durationMs: 60_000 });
  stats.notify({ ...ran, result: "success", durationMs: 7 });
  for (let i = 0; i < 1_000; i++) stats.notify({ ...ran, plugin: `p${i}` });
  const { providers, plugins } = stats.status();
  deepEqual(providers.map(({ name }) => name), PROVIDER_NAMES);
  const docker = providers.find(({ name }) => name === "docker");
  deepEqual([docker?.requests, docker?.failures, docker?.last?.reason], [2, 1, "no-config-file"]);
  deepEqual(docker?.lastFailure, { reason: "unreadable", detail: "no", atMs: NOW_MS });
  equal(plugins.length, 200);
  const ecr = plugins.find(({ name }) => name === "ecr");
  deepEqual(
    [ecr?.executions, ecr?.failures, ecr?.lastResult, ecr?.longestDurationMs],
    [3, 2, "success", 60_000],
  );
});
