import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { AgentError } from "../../../lib/model/mod.ts";
import { loadConfig } from "../../../lib/config/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { load, OURS, problemOf, THEIRS } from "./sources.ts";

Deno.test("loadToml: reports line and column of invalid TOML without quoting it", async () => {
  for (const [key, file] of [["ours", OURS], ["theirs", THEIRS]] as const) {
    const text = `first = "hunter2"\nsecond = \n`;
    const { problem, remedy, ...where } = await problemOf({ [key]: text });
    deepEqual(where, { file, place: "line 2, column 10" });
    match(problem, /^invalid TOML: [a-z ]{5,}$/);
    equal(/hunter2|\n/.test(problem), false);
    match(remedy, /key = "value"/);
  }
});

Deno.test("loadToml: rejects a duplicate key", async () => {
  const problem = await problemOf({ ours: `[log]\nlevel = "info"\nlevel = "debug"` });
  match(problem.place, /^line 3, /);
  match(problem.remedy, /each once$/);
});

Deno.test("loadToml: reads files of at most 512 KiB", async () => {
  const load = (bytes: number) => {
    const files = new FakeFiles();
    files.set(OURS, `#${"x".repeat(bytes - 1)}`);
    return loadConfig({ host: { env: {}, cwd: "/" }, files }, {});
  };
  await load(512 * 1_024);
  await rejects(load(512 * 1_024 + 1), /larger than 524288 bytes/);
});

Deno.test("loadToml: rejects a binary file", async () => {
  const { file, place, problem } = await problemOf({ ours: "\x7fELF\x02\x01\0\0" });
  deepEqual([file, place], [OURS, "line 1, column 1"]);
  match(problem, /^invalid TOML: /);
});

Deno.test("loadToml: accepts an empty file and a byte order mark", async () => {
  const { hash } = await load();
  equal((await load({ ours: "" })).hash, hash);
  equal((await load({ ours: "\uFEFFversion = 1\r\n" })).hash, hash);
});

Deno.test("loadToml: requires a file that was set explicitly, but no default file", async () => {
  const env = { NYDUS_AUTH_AGENT_CONFIG: "/gone.toml" };
  const cases = [
    [{ flags: { config: "/gone.toml" } }, "--config"],
    [{ env }, "NYDUS_AUTH_AGENT_CONFIG"],
    [{ flags: { snapshotterConfig: "/gone.toml" } }, "--snapshotter-config"],
    [{ ours: `snapshotter.config = "/gone.toml"` }, `snapshotter.config in ${OURS}`],
    // An explicit path is required to exist, also if it equals the default.
    [{ flags: { config: OURS } }, "--config"],
  ] as const;
  for (const [sources, setBy] of cases) {
    const { file, problem } = await problemOf(sources);
    equal(
      file,
      setBy === "--config" && "flags" in sources ? sources.flags.config : "/gone.toml",
    );
    equal(problem, `no such file, but ${setBy} refers to it`);
  }
  deepEqual((await load()).files, []);
});

Deno.test("loadToml: rejects an unreadable file, including a default one", async () => {
  const error = new AgentError("io", "read file: permission denied");
  for (const file of [OURS, THEIRS]) {
    const { remedy, ...rest } = await problemOf({ files: { [file]: error } });
    deepEqual(rest, { file, place: "", problem: "read file: permission denied" });
    equal(remedy, "make it a TOML file that the agent's user can read");
  }
});

Deno.test("loadToml: resolves a relative path only for --config", async () => {
  const files = { "/cwd/dir/sub/own.toml": `log.level = "debug"` };
  equal((await load({ files, flags: { config: "sub/own.toml" } })).log.level, "debug");
  const { file, problem } = await problemOf({
    files,
    env: { NYDUS_AUTH_AGENT_CONFIG: "sub/own.toml" },
  });
  equal(file, "NYDUS_AUTH_AGENT_CONFIG");
  match(problem, /text "sub\/own.toml", expected an absolute path/);
});
