import { deepEqual, doesNotMatch, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "@std/path";
import { AnswerDeadline } from "../../../../lib/model/mod.ts";
import { systemFiles } from "../../../../lib/platform/mod.ts";
import { CredentialChain, KubeletProvider } from "../../../../lib/providers/mod.ts";
import { flushTasks } from "../../../fakes/clock.ts";
import { exited } from "../../../fakes/process.ts";
import {
  CONFIG_PATH,
  configText,
  kubelet,
  pairs,
  type PluginText,
  requestedImage,
  requestFor,
  response,
} from "./plugins.ts";

const A = { name: "a", matchImages: ["*.example.com"] };
const B = { name: "b", matchImages: ["reg.example.com"] };

Deno.test("KubeletProvider: executes a plugin with the request on stdin", async () => {
  const { provider, runner } = kubelet([A]);
  runner.answer = () => response({ "*.example.com": ["u", "p"] });
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/a/b:v1"))), ["u:p"]);
  const [request] = runner.requests;
  equal(request?.path, "/bin/plugins/a");
  deepEqual(request?.args, []);
  deepEqual(JSON.parse(request?.stdin ?? ""), {
    kind: "CredentialProviderRequest",
    apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    image: "reg.example.com/a/b:v1",
  });
});

Deno.test("KubeletProvider: does not execute a plugin that does not match", async () => {
  const { provider, runner } = kubelet([A]);
  const outcome = await provider.provide(requestFor("nginx"));
  equal(outcome.kind, "none");
  equal(outcome.reason, "plugin-not-matched");
  equal(runner.requests.length, 0);
});

Deno.test("KubeletProvider: keeps the responses of plugins with equal cache keys apart (flaw 3)", async () => {
  const { provider, runner } = kubelet([A, B]);
  runner.answer = ({ path }) =>
    path.endsWith("/a")
      ? response({ "*.example.com": ["a", "1"] }, { type: "Global" })
      : response({ "reg.example.com": ["b", "2"] }, { type: "Global" });
  for (let i = 0; i < 3; i++) {
    deepEqual(pairs(await provider.provide(requestFor("reg.example.com/x"))), ["b:2", "a:1"]);
  }
  equal(runner.requests.length, 2);
});

Deno.test("KubeletProvider: prefers the first configured plugin when patterns are equal", async () => {
  const { provider, runner } = kubelet([A, B]);
  runner.answer = ({ path }) => response({ "reg.example.com": [path.slice(-1), "p"] });
  const outcome = await provider.provide(requestFor("reg.example.com/x"));
  deepEqual(pairs(outcome), ["a:p", "b:p"]);
});

Deno.test("KubeletProvider: prefers the longer path within a response", async () => {
  const { provider, runner } = kubelet([A]);
  runner.answer = () =>
    response({ "reg.example.com": ["host", "p"], "reg.example.com/team": ["team", "p"] });
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/team/x"))), [
    "team:p",
    "host:p",
  ]);
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/other/x"))), ["host:p"]);
});

Deno.test("KubeletProvider: keeps colons in a password (flaw 4)", async () => {
  const { provider, runner } = kubelet([A]);
  runner.answer = () => response({ "*.example.com": ["u", "p:q:r"] });
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/x"))), ["u:p:q:r"]);
});

Deno.test("KubeletProvider: executes matching plugins concurrently, and one failure does not affect the others", async () => {
  const { provider, runner } = kubelet([A, B]);
  runner.answer = ({ path }) =>
    path.endsWith("/a")
      ? exited("secret-in-output", 1)
      : response({ "reg.example.com": ["b", "2"] });
  runner.hold();
  const pending = provider.provide(requestFor("reg.example.com/x"));
  await flushTasks();
  equal(runner.running, 2);
  runner.release();
  const outcome = await pending;
  deepEqual(pairs(outcome), ["b:2"]);
  deepEqual(outcome.notes.map(({ subject, reason }) => [subject, reason]), [
    ["a", "plugin-failed"],
    ["b", "found"],
  ]);
  doesNotMatch(JSON.stringify(outcome), /secret-in-output/);
});

Deno.test("KubeletProvider: limits concurrent executions over all plugins", async () => {
  const plugins = ["a", "b", "c", "d", "e"].map((name) => ({ ...A, name }));
  const { provider, runner } = kubelet(plugins, { maxParallel: 2 });
  runner.hold();
  const pending = provider.provide(requestFor("reg.example.com/x"));
  await flushTasks();
  equal(runner.running, 2);
  runner.release();
  await pending;
  equal(runner.mostRunning, 2);
  equal(runner.requests.length, 5);
});

Deno.test("KubeletProvider: returns the reason for each absence of a credential", async () => {
  const cases = [
    [response(null), "plugin-no-credential"],
    [response({ "*.other.com": ["u", "p"] }), "no-pattern-matched"],
    [response({ "*.example.com": ["", ""] }), "anonymous-entry"],
    [response({ "*.example.com": ["u", ""] }), "incomplete-entry"],
    [response({ "[": ["u", "p"] }), "no-pattern-matched"],
  ] as const;
  for (const [stdout, reason] of cases) {
    const { provider, runner } = kubelet([A]);
    runner.answer = () => stdout;
    const outcome = await provider.provide(requestFor("reg.example.com/x"));
    deepEqual([outcome.kind, outcome.reason], ["none", reason]);
  }
});

Deno.test("KubeletProvider: returns the reason for each kind of failure", async () => {
  const cases = [
    [{ kind: "not-started", reason: "missing" }, "plugin-missing"],
    [{ kind: "not-started", reason: "not-executable" }, "plugin-not-executable"],
    [{ kind: "not-started", reason: "other" }, "plugin-not-executable"],
    [{ kind: "timed-out", stderr: "" }, "plugin-timeout"],
    [{ kind: "too-much-output", stderr: "" }, "plugin-too-much-output"],
    [exited("", 1), "plugin-failed"],
    [exited("hunter2"), "plugin-invalid-response"],
    [
      exited(response({ "*.example.com": ["u", "hunter2"] }) + "hunter2"),
      "plugin-invalid-response",
    ],
  ] as const;
  for (const [result, reason] of cases) {
    const { provider, runner, observer } = kubelet([A]);
    runner.answer = () => result;
    const outcome = await provider.provide(requestFor("reg.example.com/x"));
    deepEqual([outcome.kind, outcome.reason], ["failed", reason]);
    equal(observer.of("plugin-executed").length, 1);
    doesNotMatch(JSON.stringify([outcome, observer.events]), /hunter2/);
  }
});

Deno.test("KubeletProvider: keeps the last valid configuration when a new one is invalid", async () => {
  const { provider, runner, files } = kubelet([A]);
  runner.answer = () => response({ "*.example.com": ["u", "p"] });
  await provider.provide(requestFor("reg.example.com/x"));
  files.set(CONFIG_PATH, "providers: [");
  equal((await provider.reload()).kind, "refused");
  const outcome = await provider.provide(requestFor("reg.example.com/x"));
  deepEqual(pairs(outcome), ["u:p"]);
  equal(outcome.notes[0]?.reason, "invalid-config");
  equal(runner.requests.length, 1, "the cached response is kept");
});

Deno.test("KubeletProvider: keeps its plugins when an agent reload meets a half-written file", async () => {
  const { provider: before, files, runner, settings } = kubelet([A]);
  runner.answer = () => response({ "*.example.com": ["u", "p"] });
  await before.provide(requestFor("reg.example.com/a"));
  files.set(CONFIG_PATH, configText(A).slice(0, -20));
  const after = new KubeletProvider({ ...settings, before });
  const outcome = await after.provide(requestFor("reg.example.com/a"));
  deepEqual(pairs(outcome), ["u:p"]);
  equal(outcome.notes[0]?.reason, "invalid-config");
  const elsewhere = new KubeletProvider({ ...settings, configPath: "/other.yaml", before });
  equal((await elsewhere.provide(requestFor("reg.example.com/a"))).kind, "none");
  files.set(CONFIG_PATH, configText(B));
  await after.reload();
  equal((await after.provide(requestFor("other.example.com/a"))).reason, "plugin-not-matched");
});

Deno.test("KubeletProvider.reload: keeps the state of unchanged plugins only", async () => {
  const { provider, runner, files } = kubelet([A, B]);
  runner.answer = ({ path }) => response({ "reg.example.com": [path.slice(-1), "p"] });
  await provider.provide(requestFor("reg.example.com/x"));
  equal((await provider.reload()).kind, "unchanged");
  files.set(CONFIG_PATH, configText(A, { ...B, duration: "2h" }));
  equal((await provider.reload()).kind, "loaded");
  await provider.provide(requestFor("reg.example.com/x"));
  deepEqual(runner.requests.map(({ path }) => path.slice(-1)), ["a", "b", "b"]);
});

Deno.test("KubeletProvider: reads its configuration before the first outcome (flaw 16)", async () => {
  const { provider, runner } = kubelet([A]);
  runner.answer = () => response({ "*.example.com": ["u", "p"] });
  const outcomes = await Promise.all(
    [1, 2].map(() => provider.provide(requestFor("reg.example.com/x"))),
  );
  deepEqual(outcomes.map(pairs), [["u:p"], ["u:p"]]);
});

Deno.test("KubeletProvider: distinguishes a missing, an invalid and an unreadable configuration", async () => {
  const missing = kubelet([A]);
  missing.files.remove(CONFIG_PATH);
  deepEqual(
    (await missing.provider.provide(requestFor("reg.example.com/x"))).reason,
    "no-config-file",
  );
  const broken = kubelet([]);
  const outcome = await broken.provider.provide(requestFor("reg.example.com/x"));
  deepEqual([outcome.kind, outcome.reason], ["failed", "invalid-config"]);
  const unreadable = kubelet([A]);
  unreadable.files.refuseReading(CONFIG_PATH);
  deepEqual(
    (await unreadable.provider.provide(requestFor("reg.example.com/x"))).reason,
    "unreadable",
  );
});

Deno.test("CredentialChain: rejects at once when a caller aborts, and continues a shared execution", async () => {
  const { provider, runner, clock, observer } = kubelet([A]);
  const chain = new CredentialChain({ providers: [provider], clock, observer });
  runner.answer = () => response({ "*.example.com": ["u", "p"] });
  await provider.reload();
  runner.hold();
  const gone = new AbortController();
  const aborted = chain.resolve(requestFor("reg.example.com/x"), { signal: gone.signal });
  const other = provider.provide(requestFor("reg.example.com/x"));
  await flushTasks();
  gone.abort(new Error("gone"));
  await rejects(async () => await aborted, /gone/);
  runner.release();
  deepEqual(pairs(await other), ["u:p"]);
  equal(runner.requests.length, 1);
});

Deno.test("KubeletProvider: logs each warning about a plugin's responses once", async () => {
  const { provider, runner, observer, clock } = kubelet([A]);
  runner.answer = () => response({ "*.example.com": ["u", "p"] }, { duration: "0s" });
  const first = await provider.provide(requestFor("reg.example.com/x"));
  ok(first.notes[0]?.detail?.includes("cacheDuration"));
  await clock.advance(11_000);
  const second = await provider.provide(requestFor("reg.example.com/x"));
  equal(second.notes[0]?.detail, first.notes[0]?.detail);
  equal(runner.requests.length, 2);
  equal(observer.of("warning").length, 1);
});

Deno.test("KubeletProvider: requests each image by its own reference", async () => {
  const { provider, runner } = kubelet([A]);
  runner.answer = (request) =>
    response({ "*.example.com": [requestedImage(request), "p"] }, { type: "Image" });
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/x"))), [
    "reg.example.com/x:latest:p",
  ]);
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/y"))), [
    "reg.example.com/y:latest:p",
  ]);
});

Deno.test("KubeletProvider: merges the files of a folder in the order of their names", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { settings, runner } = kubelet([]);
    const write = (name: string, ...plugins: readonly PluginText[]) =>
      Deno.writeTextFile(join(folder, name), configText(...plugins));
    runner.answer = ({ path }) => response({ "reg.example.com": [path.slice(-1), "p"] });
    const provider = new KubeletProvider({ ...settings, configPath: folder, files: systemFiles });
    const provide = async () => await provider.provide(requestFor("reg.example.com/x"));

    const empty = await provide();
    deepEqual([empty.kind, empty.reason], ["failed", "invalid-config"]);
    await write("20.yaml", A);
    await write("10.json", B);
    await write("30.txt", { ...A, name: "c" });
    await Deno.mkdir(join(folder, "40.yml"));
    equal((await provider.reload()).kind, "loaded");
    deepEqual(pairs(await provide()), ["b:p", "a:p"], "files are read in the order of their names");
    equal((await provider.reload()).kind, "unchanged");

    await write("50.yml", { ...A, name: "b" });
    const refused = await provider.reload();
    match(refused.kind === "refused" ? refused.problems[0]?.problem ?? "" : "", /10\.json too/);
    deepEqual(pairs(await provide()), ["b:p", "a:p"], "the last valid one is used");
    await write("50.yml");
    equal((await provider.reload()).kind, "loaded", "one of several files may be empty");
    await Deno.remove(join(folder, "10.json"));
    equal((await provider.reload()).kind, "loaded");
    deepEqual(pairs(await provide()), ["a:p"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("KubeletProvider: serves a response of type Image to no other image", async () => {
  const { provider, runner } = kubelet([A]);
  runner.answer = () => response({ "*.example.com": ["u", "same"] }, { type: "Image" });
  const images = ["a:1", "a:2", "b", "c", "d/e"].map((name) => `reg.example.com/${name}`);
  for (const image of images) await provider.provide(requestFor(image));
  deepEqual(
    runner.requests.map((request) => requestedImage(request).replace(/:latest$/, "")),
    images,
  );
});

Deno.test("KubeletProvider: keeps the state of plugins with an unchanged definition across an agent reload", async () => {
  const { provider: before, runner, files, settings } = kubelet([A, B]);
  runner.answer = ({ path }) =>
    path.endsWith("/a") ? response({ "*.example.com": ["u", "p"] }) : exited("", 1);
  await before.provide(requestFor("reg.example.com/x"));
  equal(runner.requests.length, 2);
  files.set(CONFIG_PATH, configText(A, B, { name: "c", matchImages: ["other.io"] }));
  const after = new KubeletProvider({ ...settings, timeoutMs: 1_000, before });
  const outcome = await after.provide(requestFor("reg.example.com/x"));
  deepEqual(pairs(outcome), ["u:p"]);
  deepEqual(outcome.notes.map(({ reason }) => reason), [
    "found-in-cache",
    "plugin-backing-off",
    "plugin-not-matched",
  ]);
  equal(runner.requests.length, 2);
  const elsewhere = new KubeletProvider({ ...settings, binDir: "/other", before: after });
  await elsewhere.provide(requestFor("reg.example.com/x"));
  equal(runner.requests.length, 4, "plugins in another folder are different plugins");
});

Deno.test("KubeletProvider: keeps running executions across an agent reload", async () => {
  const { provider: before, runner, settings } = kubelet([A]);
  runner.answer = () => response({ "*.example.com": ["u", "p"] });
  runner.hold();
  const early = before.provide(requestFor("reg.example.com/x"));
  await flushTasks();
  const after = new KubeletProvider({ ...settings, before });
  const late = after.provide(requestFor("reg.example.com/x"));
  await flushTasks();
  runner.release();
  deepEqual([pairs(await early), pairs(await late)], [["u:p"], ["u:p"]]);
  equal(runner.requests.length, 1);
});

Deno.test("KubeletProvider: returns the other plugins' credentials when one hangs", async () => {
  const { clock, runner, settings } = kubelet([A, B]);
  const late: string[] = [];
  const deadline = new AnswerDeadline({
    clock,
    timeoutMs: 5_000,
    onLateAnswer: ({ text }) => void late.push(text),
  });
  const provider = new KubeletProvider({ ...settings, deadline });
  const hanging = Promise.withResolvers<string>();
  runner.answer = ({ path }) =>
    path.endsWith("/b") ? hanging.promise : response({ "*.example.com": ["a", "1"] });
  const request = requestFor("reg.example.com/x:1");
  const first = provider.provide(request);
  await flushTasks();
  await clock.advance(5_000);
  const outcome = await first;
  deepEqual(pairs(outcome), ["a:1"]);
  equal(outcome.notes[1]?.reason, "deadline-exceeded");
  match(outcome.notes[1]?.detail ?? "", /no answer within 5 s/);
  const second = provider.provide(request);
  await flushTasks();
  await clock.advance(100);
  deepEqual(pairs(await second), ["a:1"], "an overdue plugin gets less time");
  hanging.resolve(response({ "reg.example.com": ["b", "2"] }, { duration: "0s" }));
  await flushTasks();
  deepEqual(late, ["reg.example.com/x:1", "reg.example.com/x:1"]);
  deepEqual(pairs(await provider.provide(request)), ["b:2", "a:1"]);
  equal(runner.requests.length, 2);
});

Deno.test("KubeletProvider: serves a late response with cacheDuration 0 to the next request", async () => {
  const { clock, runner, settings } = kubelet([A]);
  const deadline = new AnswerDeadline({ clock, timeoutMs: 5_000, onLateAnswer: () => {} });
  const provider = new KubeletProvider({ ...settings, deadline });
  const slow = Promise.withResolvers<string>();
  runner.answer = () => slow.promise;
  const first = provider.provide(requestFor("reg.example.com/x"));
  await clock.waiting();
  await clock.advance(30_000);
  equal((await first).reason, "deadline-exceeded");
  slow.resolve(response({ "*.example.com": ["u", "p"] }, { duration: "0s" }));
  await flushTasks();
  deepEqual(pairs(await provider.provide(requestFor("reg.example.com/x"))), ["u:p"]);
  equal(runner.requests.length, 1);
});
