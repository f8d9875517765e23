import { deepEqual, doesNotMatch, equal, ok, rejects } from "node:assert/strict";
import { CredentialHelpers, DockerProvider } from "../../../../lib/providers/docker/mod.ts";
import { FakeClock, settle } from "../../../fakes/clock.ts";
import { FakeObserver } from "../../../fakes/observer.ts";
import { exited, FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { MemoryFiles } from "../memory_files.ts";
import { ask, jwt, pairs } from "../exec_plugin/plugins.ts";

const PATH = "/home/u/.docker/config.json";
const HUB = "https://index.docker.io/v1/";
const NOT_FOUND = exited("credentials not found in native keychain\n", 1);
const basic = (pair: string) => ({ auth: new TextEncoder().encode(pair).toBase64() });

function docker(config: unknown) {
  const clock = new FakeClock();
  const observer = new FakeObserver();
  const files = new MemoryFiles();
  if (config !== undefined) files.write(PATH, JSON.stringify(config));
  for (const name of ["pass", "ecr"]) {
    files.write(`/usr/bin/docker-credential-${name}`, "", { mode: 0o755 });
  }
  const runner = new FakeProcessRunner(() => NOT_FOUND);
  const helpers = new CredentialHelpers({
    processRunner: runner,
    files,
    clock,
    observer,
    random: new FakeRandom(),
    searchPath: "relative::/usr/local/bin:/usr/bin",
    timeoutMs: 10_000,
    refreshIntervalMs: 240_000,
    signal: new AbortController().signal,
  });
  const provider = new DockerProvider({ configPath: PATH, files, clock, helpers });
  return { provider, helpers, clock, observer, files, runner };
}

const answer = (Username: string, Secret: string) =>
  JSON.stringify({ ServerURL: "x", Username, Secret });

Deno.test("flaw 9: DockerProvider finds what docker login stored for Docker Hub", async () => {
  const { provider } = docker({ auths: { [HUB]: basic("hub:pw") } });
  for (const ref of ["nginx", "docker.io/library/nginx", "index.docker.io/a/b"]) {
    deepEqual(pairs(await provider.provide(ask(ref))), ["hub:pw"]);
  }
});

Deno.test("DockerProvider does not read a key docker.io, and says under which name docker keeps it", async () => {
  for (const key of ["docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"]) {
    const { provider } = docker({ auths: { [key]: basic("hub:pw") } });
    const outcome = await provider.provide(ask("nginx"));
    deepEqual([outcome.kind, outcome.reason], ["none", "no-entry-for-registry"]);
    equal(outcome.notes[0]?.subject, `auths.${key}`);
    ok(outcome.notes[0]?.detail?.includes(HUB));
    const other = await provider.provide(ask("quay.io/a/b"));
    deepEqual(other.notes.map(({ detail }) => detail), [`it has ${key}`]);
  }
});

Deno.test("DockerProvider: docker's entry first, then those that the kubelet would try as well", async () => {
  const { provider } = docker({
    auths: {
      "quay.io": basic("u:host"),
      "https://quay.io/v1/": basic("u:old"),
      "quay.io/team": basic("u:team"),
      "quay.io/team/app": basic("u:app"),
      "quay.io/other": basic("u:other"),
      "*.io": basic("u:wild"),
    },
  });
  deepEqual(pairs(await provider.provide(ask("quay.io/team/app:1"))), [
    "u:host",
    "u:app",
    "u:team",
    "u:old",
    "u:wild",
  ]);
  deepEqual(pairs(await provider.provide(ask("quay.io/else"))), ["u:host", "u:old", "u:wild"]);
  equal((await provider.provide(ask("ghcr.io/else"))).kind, "none", "docker finds nothing");
});

Deno.test("DockerProvider says which file was read, and what it has instead", async () => {
  const none = docker({});
  const [note] = (await none.provider.provide(ask("quay.io/a"))).notes;
  equal(note?.subject, PATH);
  equal(note?.detail, "it has no entry at all");
  const names = ["a.io", "b.io", "https://me:pw@c.io/", "d.io", "e.io", "f.io"];
  const auths = Object.fromEntries(names.map((name) => [name, basic("u:p")]));
  const { provider } = docker({ auths, credHelpers: { "g.io": "pass" } });
  const [told] = (await provider.provide(ask("quay.io/a"))).notes;
  equal(told?.detail, "it has a.io, b.io, [hidden]@c.io/, d.io, e.io and 2 more");
});

Deno.test("flaw 4: DockerProvider keeps the colons of a password", async () => {
  const { provider } = docker({ auths: { "quay.io": basic("u:p:q:r") } });
  deepEqual(pairs(await provider.provide(ask("quay.io/a/b"))), ["u:p:q:r"]);
});

Deno.test("DockerProvider keeps identity and registry tokens as what they are", async () => {
  const { provider } = docker({
    auths: { "quay.io": { identitytoken: "i" }, "ghcr.io": { registrytoken: "r" } },
  });
  deepEqual(pairs(await provider.provide(ask("quay.io/a/b"))), ["identity-token"]);
  deepEqual(pairs(await provider.provide(ask("ghcr.io/a/b"))), ["registry-token"]);
});

Deno.test("DockerProvider tells each kind of nothing apart", async () => {
  const { provider } = docker({ auths: { "quay.io": {}, "ghcr.io": { username: "u" } } });
  equal((await provider.provide(ask("quay.io/a/b"))).reason, "anonymous-entry");
  equal((await provider.provide(ask("ghcr.io/a/b"))).reason, "incomplete-entry");
  equal((await provider.provide(ask("gcr.io/a/b"))).reason, "no-entry-for-registry");
  equal((await docker(undefined).provider.provide(ask("gcr.io/a"))).reason, "no-config-file");
});

Deno.test("DockerProvider fails for a password that is not UTF-8, and for that registry alone", async () => {
  const auth = new Uint8Array([0x75, 0x3a, 0xff, 0xfe]).toBase64();
  const { provider } = docker({ auths: { "quay.io": { auth }, "ghcr.io": basic("u:p") } });
  const outcome = await provider.provide(ask("quay.io/a/b"));
  deepEqual([outcome.kind, outcome.reason], ["failed", "invalid-entry"]);
  deepEqual(pairs(await provider.provide(ask("ghcr.io/a/b"))), ["u:p"]);
});

Deno.test("flaw 19: DockerProvider parses the file once until it changes, then sees it at once", async () => {
  const { provider, files, clock } = docker({ auths: { "quay.io": basic("u:1") } });
  await Promise.all(Array.from({ length: 50 }, () => provider.provide(ask("quay.io/a/b"))));
  for (let i = 0; i < 50; i++) await provider.provide(ask("quay.io/a/b"));
  equal(files.reads, 1);
  files.write(PATH, JSON.stringify({ auths: { "quay.io": basic("u:2") } }));
  await clock.advance(25);
  deepEqual(pairs(await provider.provide(ask("quay.io/a/b"))), ["u:2"]);
  equal(files.reads, 2);
});

Deno.test("DockerProvider.doubt reads a file whose stamp is the same", async () => {
  const { provider, files, clock } = docker(undefined);
  files.write(PATH, JSON.stringify({ auths: { "quay.io": basic("u:1") } }), { stamp: "same" });
  const first = await provider.provide(ask("quay.io/a/b"));
  await clock.advance(1_000);
  provider.suspect();
  deepEqual(await provider.provide(ask("quay.io/a/b")), first, "the same text is no news");
  files.write(PATH, JSON.stringify({ auths: { "quay.io": basic("u:2") } }), { stamp: "same" });
  provider.suspect();
  deepEqual(pairs(await provider.provide(ask("quay.io/a/b"))), ["u:2"]);
});

Deno.test("DockerProvider: a reload in the moment of a half-written file forgets nothing", async () => {
  const { provider: before, helpers, files, clock } = docker({
    auths: { "quay.io": basic("u:1") },
  });
  await before.provide(ask("quay.io/a/b"));
  files.write(PATH, '{"auths": {"quay.io": {"auth": "dTpz');
  const options = { configPath: PATH, files, clock, helpers };
  const after = new DockerProvider({ ...options, before });
  deepEqual(pairs(await after.provide(ask("quay.io/a/b"))), ["u:1"]);
  const elsewhere = new DockerProvider({ ...options, configPath: "/other.json", before });
  equal((await elsewhere.provide(ask("quay.io/a/b"))).kind, "none", "another file, another past");
  await clock.advance(25);
  files.write(PATH, JSON.stringify({ auths: { "quay.io": basic("u:2") } }));
  deepEqual(pairs(await after.provide(ask("quay.io/a/b"))), ["u:2"]);
});

Deno.test("DockerProvider keeps the last good file while it is half-written, empty or unreadable", async () => {
  const { provider, files, clock } = docker({ auths: { "quay.io": basic("u:1") } });
  await provider.provide(ask("quay.io/a/b"));
  for (const text of ['{"auths": {"quay.io": {"auth": "dTpz', "", "[]"]) {
    files.write(PATH, text);
    await clock.advance(25);
    const outcome = await provider.provide(ask("quay.io/a/b"));
    deepEqual(pairs(outcome), ["u:1"]);
    equal(outcome.notes[0]?.reason, "invalid-config");
    doesNotMatch(JSON.stringify(outcome.notes), /dTpz/);
  }
  files.denied.add(PATH);
  files.write(PATH, "{}");
  provider.suspect();
  equal((await provider.provide(ask("quay.io/a/b"))).notes[0]?.reason, "unreadable");
  files.denied.delete(PATH);
  files.write(PATH, "{}");
  provider.suspect();
  equal((await provider.provide(ask("quay.io/a/b"))).kind, "none");
});

Deno.test("DockerProvider fails where no file was ever good, and treats an empty one as docker does", async () => {
  const broken = docker(undefined);
  broken.files.write(PATH, "{");
  equal((await broken.provider.provide(ask("quay.io/a/b"))).reason, "invalid-config");
  const empty = docker(undefined);
  empty.files.write(PATH, "");
  equal((await empty.provider.provide(ask("quay.io/a/b"))).reason, "no-entry-for-registry");
});

Deno.test("DockerProvider gives an entry's token its hard end, as of the time of reading", async () => {
  const { provider, clock, files } = docker(undefined);
  const endsAtMs = clock.wallMs() + 60_000;
  files.write(PATH, JSON.stringify({ auths: { "quay.io": basic(`u:${jwt(endsAtMs)}`) } }));
  await provider.provide(ask("quay.io/a/b"));
  await clock.advance(120_000);
  const outcome = await provider.provide(ask("quay.io/a/b"));
  if (outcome.kind !== "found") throw new Error(outcome.reason);
  equal(outcome.candidates[0].expiresAtMs, endsAtMs, "an expired token is known to be expired");
  equal(outcome.candidates[0].watched, true);
});

Deno.test("DockerProvider asks the registry's helper, else the store, with the server on stdin", async () => {
  const { provider, runner } = docker({
    credsStore: "pass",
    credHelpers: { "x.dkr.ecr.eu.amazonaws.com": "ecr" },
  });
  runner.answer = ({ path }) => answer("u", path);
  deepEqual(pairs(await provider.provide(ask("x.dkr.ecr.eu.amazonaws.com/a"))), [
    "u:/usr/bin/docker-credential-ecr",
  ]);
  deepEqual(pairs(await provider.provide(ask("nginx"))), ["u:/usr/bin/docker-credential-pass"]);
  deepEqual(runner.requests.map(({ args, stdin }) => [args, stdin]), [
    [["get"], "x.dkr.ecr.eu.amazonaws.com"],
    [["get"], HUB],
  ]);
});

Deno.test("DockerProvider takes the file's entry when the helper has nothing, not when it fails", async () => {
  const { provider, runner } = docker({
    credsStore: "pass",
    auths: { "quay.io": basic("u:file") },
  });
  const outcome = await provider.provide(ask("quay.io/a/b"));
  deepEqual(pairs(outcome), ["u:file"]);
  equal(outcome.notes[0]?.reason, "helper-not-found");
  equal((await provider.provide(ask("ghcr.io/a/b"))).reason, "helper-not-found");
  const failing = docker({ credsStore: "pass", auths: { "quay.io": basic("u:file") } });
  failing.runner.answer = () => exited("boom", 2);
  equal((await failing.provider.provide(ask("quay.io/a/b"))).reason, "helper-failed");
  equal(runner.requests.length, 2);
});

Deno.test("DockerProvider never runs itself or a helper whose name is a path", async () => {
  const { provider, runner } = docker({
    credHelpers: { "a.io": "nydus-auth", "b.io": "../sh", "c.io": "none" },
  });
  deepEqual((await provider.provide(ask("a.io/x"))).reason, "helper-is-agent");
  deepEqual((await provider.provide(ask("b.io/x"))).reason, "helper-missing");
  deepEqual((await provider.provide(ask("c.io/x"))).reason, "helper-missing");
  equal(runner.requests.length, 0);
});

Deno.test("DockerProvider: an abort ends the caller's waiting", async () => {
  const { provider, runner } = docker({ credsStore: "pass" });
  runner.hold();
  const gone = new AbortController();
  const asked = provider.provide(ask("quay.io/a/b"), { signal: gone.signal });
  await settle();
  gone.abort(new Error("gone"));
  await rejects(async () => await asked, /gone/);
  runner.release();
});
