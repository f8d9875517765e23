import { deepEqual, equal, match } from "node:assert/strict";
import { PROVIDER_NAMES } from "../../../lib/model/mod.ts";
import { load, OURS, problemOf, problemsOf } from "./sources.ts";

Deno.test("readConfigTables: rejects unknown keys with the known names, or the right table", async () => {
  const top = "known keys: version, snapshotter, renewal, providers, delivery, server, api, log, " +
    "daemons";
  const cases = [
    [
      `[renewal]\nchek_interval = "1m"`,
      "renewal.chek_interval",
      "known keys: check_interval, lead_time, refresh_interval, credential_renewal_interval",
    ],
    [`[log]\nrotation_megabytes = 5`, "log.rotation_megabytes", "known keys: level, format"],
    [`[renewals]\nlead_time = "1m"`, "renewals", top],
    [`[[daemon]]\nsocket = "/x"`, "daemon", top],
    [
      `[providers.dcoker]\nenabled = true`,
      "providers.dcoker",
      `known keys: timeout, ${PROVIDER_NAMES.join(", ")}`,
    ],
    [`check_interval = "1m"`, "check_interval", "did you mean renewal.check_interval?"],
    [
      `[snapshotter]\nbin_dir = "/x"`,
      "snapshotter.bin_dir",
      "did you mean providers.kubelet.bin_dir?",
    ],
  ] as const;
  for (const [ours, place, remedy] of cases) {
    deepEqual(await problemOf({ ours }), { file: OURS, place, problem: "unknown key", remedy });
  }
});

Deno.test("readConfigTables: rejects the names of inherited object properties", async () => {
  for (const name of ["__proto__", "constructor", "toString"]) {
    equal((await problemOf({ ours: `${name} = 1` })).place, name);
    equal((await problemOf({ ours: `[log]\n${name} = 1` })).place, `log.${name}`);
  }
});

Deno.test("readConfigTables: quotes and cuts an unusual key name", async () => {
  const { place } = await problemOf({ ours: `"a b\\n${"c".repeat(500)}" = 1` });
  match(place, /^"a b\\nc{60}"$/);
});

Deno.test("readConfigTables: reports the actual and the expected value with an example", async () => {
  const cases = [
    [
      "[providers.docker]\nenabled = 1",
      "found the number 1, expected true or false",
      "enabled = true",
    ],
    [`[providers.docker]\nenabled = "true"`, /the text "true"/, "enabled = true"],
    [
      "[renewal]\ncheck_interval = 30",
      /the number 30, expected a duration/,
      `check_interval = "1m"`,
    ],
    ["[renewal]\ncheck_interval = -1", /the number -1/, `check_interval = "1m"`],
    [`[renewal]\ncheck_interval = "1 minute"`, /"1 minute"/, `check_interval = "1m"`],
    [`[renewal]\ncheck_interval = "auto"`, /"auto", expected a duration/, `check_interval = "1m"`],
    [`[renewal]\ncheck_interval = "99ms"`, /from 100ms to 1h/, `check_interval = "1m"`],
    [`[renewal]\ncheck_interval = "61m"`, /from 100ms to 1h/, `check_interval = "1m"`],
    [`[renewal]\nrefresh_interval = "-4m"`, /"-4m"/, `refresh_interval = "4m"`],
    [`[renewal]\nlead_time = true`, /found true, .* or "auto"$/, `lead_time = "auto"`],
    ["[renewal]\nlead_time = 2026-01-01", /found a date or time/, `lead_time = "auto"`],
    ["[log]\nlevel = []", /found an array/, `level = "info"`],
    ["[log]\nlevel = {}", /found a table/, `level = "info"`],
    [`[log]\nlevel = "INFO"`, /one of "debug", "info", "warning", "error"/, `level = "info"`],
    [`[providers.kubelet]\nmax_parallel = 0`, /from 1 to 64/, "max_parallel = 4"],
    [`[providers.kubelet]\nmax_parallel = 2.5`, /the number 2.5/, "max_parallel = 4"],
    ["version = 2", /the number 2/, "version = 1"],
    ["[server]\naddress = 9111", /the number 9111/, `address = "127.0.0.1:9111"`],
    [
      `[snapshotter]\nroot = "nydus"`,
      /text "nydus", expected an absolute path/,
      /^root = "\/var\/lib/,
    ],
    [`[snapshotter]\nroot = ""`, /the text ""/, /^root = "\/var\/lib/],
    [`[snapshotter]\nroot = "~/nydus"`, /text "~/, /^root = "\/var\/lib/],
  ] as const;
  for (const [ours, problem, example] of cases) {
    const found = await problemOf({ ours });
    equal(found.file, OURS);
    if (typeof problem === "string") equal(found.problem, problem);
    else match(found.problem, problem);
    match(found.remedy, /^for example /);
    const shown = found.remedy.slice("for example ".length);
    if (typeof example === "string") equal(shown, example);
    else match(shown, example);
  }
});

Deno.test("readConfigTables: rejects a value in place of a table", async () => {
  const cases = [
    ["renewal = 5", "renewal", "found the number 5, expected a table", "write [renewal]"],
    ["[[log]]", "log", "found an array, expected a table", "write [log]"],
    [
      `providers.docker = "on"`,
      "providers.docker",
      `found the text "on", expected a table`,
      "write [providers.docker]",
    ],
    [
      "[daemons]",
      "daemons",
      "found a table, expected an array of tables",
      "write [[daemons]] for each entry",
    ],
    [
      "daemons = [1]",
      "daemons[0]",
      "found the number 1, expected a table",
      "write [[daemons]] for each entry",
    ],
  ] as const;
  for (const [ours, place, problem, remedy] of cases) {
    deepEqual(await problemOf({ ours }), { file: OURS, place, problem, remedy });
  }
});

Deno.test("readConfigTables: reports the index of a daemon", async () => {
  const problems = await problemsOf({
    ours: `
      [[daemons]]
      socket = "/a.sock"
      ref = "nginx"
      [[daemons]]
      socket = "a.sock"
      reff = "nginx"
      [[daemons]]
      socket = "/b.sock"
      ref = "Not A Reference"
      id = "a/b"`,
  });
  deepEqual(problems.map(({ place }) => place), [
    "daemons[1].socket",
    "daemons[1].reff",
    "daemons[2].ref",
    "daemons[2].id",
    "daemons[1].ref",
  ]);
  equal(problems[1]?.remedy, "known keys: socket, ref, id");
  equal(problems[4]?.problem, "missing");
  match(problems[4]?.remedy ?? "", /for example ref = "registry\.example\.com/);
});

Deno.test("readConfigTables: reports the index of a daemon after one that is no table", async () => {
  const problems = await problemsOf({ ours: `daemons = [1, { socket = "/a.sock" }]` });
  deepEqual(problems.map(({ place }) => place), ["daemons[0]", "daemons[1].ref"]);
});

Deno.test("readConfigTables: accepts dotted keys and inline tables", async () => {
  const config = await load({
    ours: `renewal.check_interval = "2s"\nproviders = { docker = { enabled = false } }`,
  });
  equal(config.renewal.checkIntervalMs, 2_000);
  equal(config.providers.docker.enabled, false);
});
