import { deepEqual, doesNotMatch, equal } from "node:assert/strict";
import { CredentialHelpers, DockerProvider } from "../../../../lib/providers/mod.ts";
import { FakeClock } from "../../../fakes/clock.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { FakeObserver } from "../../../fakes/observer.ts";
import { exited, FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { jwt, pairs, requestFor } from "../exec_plugin/plugins.ts";

const PATH = "/home/u/.docker/config.json";
const HUB = "https://index.docker.io/v1/";
const NOT_FOUND = exited("credentials not found in native keychain\n", 1);
const basic = (pair: string) => ({ auth: new TextEncoder().encode(pair).toBase64() });

function docker(config: unknown) {
  const clock = new FakeClock();
  const observer = new FakeObserver();
  const files = new FakeFiles();
  if (config !== undefined) files.set(PATH, JSON.stringify(config));
  for (const name of ["pass", "ecr"]) {
    files.set(`/usr/bin/docker-credential-${name}`, "", "file", { mode: 0o755 });
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

Deno.test("DockerProvider: finds what docker login stored for Docker Hub (flaw 9)", async () => {
  const { provider } = docker({ auths: { [HUB]: basic("hub:pw") } });
  for (const ref of ["nginx", "docker.io/library/nginx", "index.docker.io/a/b"]) {
    deepEqual(pairs(await provider.provide(requestFor(ref))), ["hub:pw"]);
  }
});

Deno.test("DockerProvider: renews the credentials of mounts", () => {
  equal(docker({}).provider.renewable, true);
});

Deno.test("DockerProvider: ignores the key docker.io and reports the one that docker uses", async () => {
  for (const key of ["docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"]) {
    const { provider } = docker({ auths: { [key]: basic("hub:pw") } });
    const outcome = await provider.provide(requestFor("nginx"));
    deepEqual([outcome.kind, outcome.reason], ["none", "no-entry-for-registry"]);
    equal(outcome.notes[0]?.detail, `it has entries for ${key}; Docker Hub's is ${HUB}`);
    const other = await provider.provide(requestFor("quay.io/a/b"));
    deepEqual(other.notes.map(({ detail }) => detail), [`it has entries for ${key}`]);
  }
});

Deno.test("DockerProvider: returns docker's entry first, then those that match by the kubelet's rules", async () => {
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
  deepEqual(pairs(await provider.provide(requestFor("quay.io/team/app:1"))), [
    "u:host",
    "u:app",
    "u:team",
    "u:old",
    "u:wild",
  ]);
  deepEqual(pairs(await provider.provide(requestFor("quay.io/else"))), [
    "u:host",
    "u:old",
    "u:wild",
  ]);
  equal((await provider.provide(requestFor("ghcr.io/else"))).kind, "none", "docker finds no entry");
});

Deno.test("DockerProvider: reports the file and its entries when none matches", async () => {
  const none = docker({});
  const [note] = (await none.provider.provide(requestFor("quay.io/a"))).notes;
  equal(note?.subject, PATH);
  equal(note?.detail, "it has no entries");
  const names = ["a.io", "b.io", "https://me:pw@c.io/", "d.io", "e.io", "f.io"];
  const auths = Object.fromEntries(names.map((name) => [name, basic("u:p")]));
  const { provider } = docker({ auths, credHelpers: { "g.io": "pass" } });
  const [others] = (await provider.provide(requestFor("quay.io/a"))).notes;
  equal(others?.detail, "it has entries for a.io, b.io, [hidden]@c.io/, d.io, e.io and 2 more");
});

Deno.test("DockerProvider: keeps colons in a password (flaw 4)", async () => {
  const { provider } = docker({ auths: { "quay.io": basic("u:p:q:r") } });
  deepEqual(pairs(await provider.provide(requestFor("quay.io/a/b"))), ["u:p:q:r"]);
});

Deno.test("DockerProvider: distinguishes identity and registry tokens", async () => {
  const { provider } = docker({
    auths: { "quay.io": { identitytoken: "i" }, "ghcr.io": { registrytoken: "r" } },
  });
  deepEqual(pairs(await provider.provide(requestFor("quay.io/a/b"))), ["identity-token"]);
  deepEqual(pairs(await provider.provide(requestFor("ghcr.io/a/b"))), ["registry-token"]);
});

Deno.test("DockerProvider: returns a distinct reason for each absence of a credential", async () => {
  const { provider } = docker({ auths: { "quay.io": {}, "ghcr.io": { username: "u" } } });
  equal((await provider.provide(requestFor("quay.io/a/b"))).reason, "anonymous-entry");
  equal((await provider.provide(requestFor("ghcr.io/a/b"))).reason, "incomplete-entry");
  equal((await provider.provide(requestFor("gcr.io/a/b"))).reason, "no-entry-for-registry");
  equal(
    (await docker(undefined).provider.provide(requestFor("gcr.io/a"))).reason,
    "no-config-file",
  );
});

Deno.test("DockerProvider: fails only for the registry whose password is not UTF-8", async () => {
  const auth = new Uint8Array([0x75, 0x3a, 0xff, 0xfe]).toBase64();
  const { provider } = docker({ auths: { "quay.io": { auth }, "ghcr.io": basic("u:p") } });
  const outcome = await provider.provide(requestFor("quay.io/a/b"));
  deepEqual([outcome.kind, outcome.reason], ["failed", "invalid-entry"]);
  deepEqual(outcome.notes.map(({ reason }) => reason), ["invalid-entry"]);
  deepEqual(pairs(await provider.provide(requestFor("ghcr.io/a/b"))), ["u:p"]);
});

Deno.test("DockerProvider: reads a changed file, and keeps the time of an unchanged text", async () => {
  const { provider, files, clock } = docker({ auths: { "quay.io": basic("u:1") } });
  const first = await provider.provide(requestFor("quay.io/a/b"));
  await clock.advance(1_000);
  deepEqual(await provider.provide(requestFor("quay.io/a/b")), first);
  files.set(PATH, JSON.stringify({ auths: { "quay.io": basic("u:2") } }));
  deepEqual(pairs(await provider.provide(requestFor("quay.io/a/b"))), ["u:2"]);
});

Deno.test("DockerProvider: keeps the last valid file when a reload meets a half-written one", async () => {
  const { provider: before, helpers, files, clock } = docker({
    auths: { "quay.io": basic("u:1") },
  });
  await before.provide(requestFor("quay.io/a/b"));
  files.set(PATH, '{"auths": {"quay.io": {"auth": "dTpz');
  const options = { configPath: PATH, files, clock, helpers };
  const after = new DockerProvider({ ...options, before });
  deepEqual(pairs(await after.provide(requestFor("quay.io/a/b"))), ["u:1"]);
  const elsewhere = new DockerProvider({ ...options, configPath: "/other.json", before });
  equal(
    (await elsewhere.provide(requestFor("quay.io/a/b"))).kind,
    "none",
    "another file has no earlier state",
  );
  await clock.advance(25);
  files.set(PATH, JSON.stringify({ auths: { "quay.io": basic("u:2") } }));
  deepEqual(pairs(await after.provide(requestFor("quay.io/a/b"))), ["u:2"]);
});

Deno.test("DockerProvider: keeps the last valid file while it is half-written, empty or unreadable", async () => {
  const { provider, files, clock } = docker({ auths: { "quay.io": basic("u:1") } });
  await provider.provide(requestFor("quay.io/a/b"));
  for (const text of ['{"auths": {"quay.io": {"auth": "dTpz', "", "[]"]) {
    files.set(PATH, text);
    await clock.advance(25);
    const outcome = await provider.provide(requestFor("quay.io/a/b"));
    deepEqual(pairs(outcome), ["u:1"]);
    equal(outcome.notes[0]?.reason, "invalid-config");
    doesNotMatch(JSON.stringify(outcome.notes), /dTpz/);
  }
  files.refuseReading(PATH);
  files.set(PATH, "{}");
  equal((await provider.provide(requestFor("quay.io/a/b"))).notes[0]?.reason, "unreadable");
  files.refuseReading(PATH, false);
  files.set(PATH, "{}");
  equal((await provider.provide(requestFor("quay.io/a/b"))).kind, "none");
});

Deno.test("DockerProvider: fails when the first file is invalid, and accepts an empty one", async () => {
  const broken = docker(undefined);
  broken.files.set(PATH, "{");
  equal((await broken.provider.provide(requestFor("quay.io/a/b"))).reason, "invalid-config");
  const empty = docker(undefined);
  empty.files.set(PATH, "");
  equal((await empty.provider.provide(requestFor("quay.io/a/b"))).reason, "no-entry-for-registry");
});

Deno.test("DockerProvider: returns the expiry of a token as of the time of reading", async () => {
  const { provider, clock, files } = docker(undefined);
  const expiresAtMs = clock.wallMs() + 60_000;
  files.set(PATH, JSON.stringify({ auths: { "quay.io": basic(`u:${jwt(expiresAtMs)}`) } }));
  await provider.provide(requestFor("quay.io/a/b"));
  await clock.advance(120_000);
  const outcome = await provider.provide(requestFor("quay.io/a/b"));
  if (outcome.kind !== "found") throw new Error(outcome.reason);
  equal(outcome.candidates[0].expiresAtMs, expiresAtMs, "the expiry of an expired token is kept");
  equal(outcome.candidates[0].watched, true);
});

Deno.test("DockerProvider: executes the registry's helper, otherwise the store, with the server on stdin", async () => {
  const { provider, runner } = docker({
    credsStore: "pass",
    credHelpers: { "x.dkr.ecr.eu.amazonaws.com": "ecr" },
  });
  runner.answer = ({ path }) => answer("u", path);
  deepEqual(pairs(await provider.provide(requestFor("x.dkr.ecr.eu.amazonaws.com/a"))), [
    "u:/usr/bin/docker-credential-ecr",
  ]);
  deepEqual(pairs(await provider.provide(requestFor("nginx"))), [
    "u:/usr/bin/docker-credential-pass",
  ]);
  deepEqual(runner.requests.map(({ args, stdin }) => [args, stdin]), [
    [["get"], "x.dkr.ecr.eu.amazonaws.com"],
    [["get"], HUB],
  ]);
});

Deno.test("DockerProvider: falls back to auths when the helper has no credential, not when it fails", async () => {
  const { provider, runner } = docker({
    credsStore: "pass",
    auths: { "quay.io": basic("u:file") },
  });
  const outcome = await provider.provide(requestFor("quay.io/a/b"));
  deepEqual(pairs(outcome), ["u:file"]);
  equal(outcome.notes[0]?.reason, "helper-no-credential");
  equal((await provider.provide(requestFor("ghcr.io/a/b"))).reason, "helper-no-credential");
  const failing = docker({ credsStore: "pass", auths: { "quay.io": basic("u:file") } });
  failing.runner.answer = () => exited("boom", 2);
  equal((await failing.provider.provide(requestFor("quay.io/a/b"))).reason, "helper-failed");
  equal(runner.requests.length, 2);
});

Deno.test("DockerProvider: never executes the agent or a helper whose name is a path", async () => {
  const { provider, runner } = docker({
    credHelpers: { "a.io": "nydus-auth", "b.io": "../sh", "c.io": "none" },
  });
  deepEqual((await provider.provide(requestFor("a.io/x"))).reason, "helper-is-agent");
  deepEqual((await provider.provide(requestFor("b.io/x"))).reason, "helper-missing");
  deepEqual((await provider.provide(requestFor("c.io/x"))).reason, "helper-missing");
  equal(runner.requests.length, 0);
});
