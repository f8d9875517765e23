import { deepEqual, equal, match, ok } from "node:assert/strict";
import { HealthMemory, ImageHistory, ProviderStats } from "../../../lib/observability/mod.ts";
import { ASKED, EVENTS, FAILED, IMAGE, RENEWED } from "./events.ts";
import { daemonOf, mountOf, NOW_MS, statusOf } from "./status_of.ts";

Deno.test("ImageHistory: newest first, repeats counted also when two take turns", () => {
  let nowMs = NOW_MS;
  const history = new ImageHistory(() => nowMs);
  for (let i = 0; i < 5; i++) {
    nowMs += 1_000;
    history.notify({ ...ASKED, outcome: "failed", reason: "unreadable", detail: `line ${i}` });
    history.notify(FAILED);
  }
  history.notify(RENEWED);
  const past = history.of(IMAGE);
  deepEqual(
    past?.entries.map((
      { event, count, firstAtMs, atMs },
    ) => [event, count, firstAtMs - NOW_MS, atMs - NOW_MS]),
    [
      ["credential-renewed", 1, 5_000, 5_000],
      ["renewal-failed", 5, 1_000, 5_000],
      ["provider-failed", 5, 1_000, 5_000],
    ],
  );
  deepEqual(past?.answers.map(({ provider, reason }) => [provider, reason]), [
    ["docker", "unreadable"],
  ]);
});

Deno.test("ImageHistory: bounded in images, entries and words, and without secrets", () => {
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

Deno.test("ImageHistory: what changes nothing is no history, and events of no image are none", () => {
  const history = new ImageHistory(() => NOW_MS);
  history.notify({ ...ASKED, outcome: "none", reason: "no-config-file" });
  history.notify(EVENTS["daemon-state-changed"]);
  deepEqual(history.of(IMAGE)?.entries, []);
  equal(history.of(IMAGE)?.answers.length, 1);
});

Deno.test("SourceBook: counts, the last answer, the last failure, a bounded number of plugins", () => {
  const book = new ProviderStats(() => NOW_MS);
  book.notify({ ...ASKED, outcome: "failed", reason: "unreadable", detail: "no" });
  book.notify({ ...ASKED, outcome: "none", reason: "no-config-file" });
  const ran = EVENTS["plugin-executed"];
  book.notify(ran);
  book.notify({ ...ran, result: "success", durationMs: 5 });
  for (let i = 0; i < 1_000; i++) book.notify({ ...ran, plugin: `p${i}` });
  const { providers, plugins } = book.status();
  deepEqual(providers.map(({ name }) => name), [
    "labels",
    "cri",
    "docker",
    "kubelet",
    "kubesecret",
  ]);
  const docker = providers.find(({ name }) => name === "docker");
  deepEqual([docker?.requests, docker?.failures, docker?.last?.reason], [2, 1, "no-config-file"]);
  deepEqual(docker?.lastFailure, { reason: "unreadable", detail: "no", atMs: NOW_MS });
  equal(plugins.length, 200);
  const ecr = plugins.find(({ name }) => name === "ecr");
  deepEqual(
    [ecr?.executions, ecr?.failures, ecr?.lastResult, ecr?.longestDurationMs],
    [2, 1, "success", 60_000],
  );
});

Deno.test("HealthMemory: says since when, forgets what ended, survives a clock set back", () => {
  const memory = new HealthMemory();
  const refused = statusOf({ daemons: [daemonOf("d", [mountOf("1", { delivery: "refused" })])] });
  const at = (minutes: number, status = refused) =>
    memory.view({ ...status, loopAgeMs: 0 }, NOW_MS + minutes * 60_000, { checkIntervalMs: 60_000 })
      .summary;
  ok(!at(0).includes("so for"));
  match(at(12), /it is refused; so for 12m: it is tried again/);
  at(13, statusOf());
  ok(!at(14).includes("so for"));
  ok(!at(-60).includes("so for"));
  match(at(-50), /so for 10m/);
});
