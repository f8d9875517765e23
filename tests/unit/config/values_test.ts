import { deepEqual, equal, match } from "node:assert/strict";
import fc from "fast-check";
import { CONFIG_KEYS } from "../../../lib/config/mod.ts";
import { describeFound, rawFromText, readValue } from "../../../lib/config/values.ts";
import { describeMs } from "../../../lib/config/key.ts";

Deno.test("readValue: reads addresses in every notation", () => {
  const cases = [
    ["127.0.0.1:9111", { hostname: "127.0.0.1", port: 9111 }],
    ["localhost:1", { hostname: "localhost", port: 1 }],
    ["[::1]:9111", { hostname: "::1", port: 9111 }],
    ["node-7.example.com:65535", { hostname: "node-7.example.com", port: 65535 }],
    [":9111", { hostname: "0.0.0.0", port: 9111 }],
    ["127.0.0.1:0", { hostname: "127.0.0.1", port: 0 }],
    ["off", "off"],
    ["", "off"],
  ] as const;
  for (const [text, value] of cases) {
    deepEqual(readValue({ kind: "address" }, text), { kind: "value", value }, text);
  }
});

Deno.test("readValue: rejects an invalid address", () => {
  const bad = [
    "9111",
    "127.0.0.1",
    "::1:9111",
    "[::1]",
    "[zz]:1",
    "[1:2]:1",
    "a b:1",
    "http://a:1",
    "a:65536",
    "a:-1",
    "a:",
    "a:1/x",
    "[127.0.0.1]:1",
    true,
    80.5,
    null,
  ];
  for (const raw of bad) {
    equal(readValue({ kind: "address" }, raw).kind, "problem", String(raw));
  }
});

Deno.test("readValue: reads Go durations within inclusive bounds", () => {
  const type = { kind: "duration", minMs: 100, maxMs: 3_600_000 } as const;
  const good = [["100ms", 100], ["1h", 3_600_000], ["1m30s", 90_000], ["0.5s", 500]] as const;
  for (const [text, value] of good) deepEqual(readValue(type, text), { kind: "value", value });
  for (const raw of ["99ms", "1h1ms", "0", "0s", "-1m", "1d", "", " 1m", "1M", "auto", 5, 1.5]) {
    equal(readValue(type, raw).kind, "problem", String(raw));
  }
});

Deno.test("readValue: accepts zero, auto and nanoseconds only if the type allows them", () => {
  const bounds = { kind: "duration", minMs: 100, maxMs: 1_000 } as const;
  deepEqual(readValue({ ...bounds, zero: true }, "0s"), { kind: "value", value: 0 });
  equal(readValue({ ...bounds, zero: true }, "50ms").kind, "problem");
  deepEqual(readValue({ ...bounds, auto: true }, "auto"), { kind: "value", value: "auto" });
  deepEqual(readValue({ ...bounds, nanoseconds: true }, 5e8), { kind: "value", value: 500 });
  for (const raw of [0.5e9 + 0.5, NaN, Infinity]) {
    equal(readValue({ ...bounds, nanoseconds: true }, raw).kind, "problem", String(raw));
  }
});

Deno.test("readValue: rejects invalid paths", () => {
  for (const raw of ["", "a", "./a", "../a", "~/a", "/a\0b", 5, ["/a"]]) {
    equal(readValue({ kind: "path" }, raw).kind, "problem", String(raw));
  }
  equal(readValue({ kind: "path" }, "off").kind, "problem");
  deepEqual(readValue({ kind: "path", off: true }, ""), { kind: "value", value: "off" });
});

Deno.test("readValue: rejects daemon ids that are not valid in keys", () => {
  for (const raw of ["", "a/b", ".a", "-a", "a b", "é", "a".repeat(129), 5]) {
    equal(readValue({ kind: "daemon-id" }, raw).kind, "problem", String(raw));
  }
  equal(readValue({ kind: "daemon-id" }, "a.B-1_c").kind, "value");
});

Deno.test("describeFound: cuts long texts", () => {
  match(describeFound("x".repeat(1_000)), /^the text "x{80}…"$/);
});

Deno.test("rawFromText: keeps a text that does not have the form of the type", () => {
  equal(rawFromText({ kind: "boolean" }, "true"), true);
  equal(rawFromText({ kind: "boolean" }, "True"), "True");
  equal(rawFromText({ kind: "integer", min: 0, max: 9 }, "7"), 7);
  equal(rawFromText({ kind: "integer", min: 0, max: 9 }, " 7"), " 7");
  equal(rawFromText({ kind: "choice", choices: ["true"] }, "true"), "true");
});

Deno.test("describeMs: uses the largest whole unit", () => {
  const cases = [[0, "0ms"], [100, "100ms"], [1_000, "1s"], [90_000, "90s"], [3_600_000, "1h"]];
  for (const [ms, text] of cases) equal(describeMs(Number(ms)), text);
});

Deno.test("readValue: accepts any key and value, and reports problems on one line", () => {
  const anything = fc.oneof(fc.anything({ withNullPrototype: true, withDate: true }), fc.string());
  fc.assert(fc.property(fc.constantFrom(...CONFIG_KEYS), anything, ({ type }, raw) => {
    const result = readValue(type, raw);
    if (result.kind === "problem") match(result.problem, /^[^\n]+$/);
  }));
});

Deno.test("readValue: accepts every default and every example", () => {
  for (const { path, type, default: fixed, example } of CONFIG_KEYS) {
    equal(readValue(type, fixed ?? example).kind, "value", path);
    equal(readValue(type, example).kind, "value", path);
  }
});

Deno.test("readValue: accepts bounded lists of unique host patterns", () => {
  const type = { kind: "host-patterns", max: 2 } as const;
  deepEqual(readValue(type, ["a", "*.b"]), { kind: "value", value: ["a", "*.b"] });
  for (const raw of [[], ["a", "b", "c"], ["a", "a"], ["a/b"], [1], "a"]) {
    equal(readValue(type, raw).kind, "problem", JSON.stringify(raw));
  }
  const single = readValue(type, "a");
  deepEqual(single.kind === "problem" && single.instead, ["a"]);
  deepEqual(rawFromText(type, "a, b"), ["a", "b"]);
});

Deno.test("readValue: accepts a Kubernetes object name", () => {
  const type = { kind: "kube-name" } as const;
  equal(readValue(type, "node-1.example.com").kind, "value");
  for (const raw of ["", "Node", "a_b", "a..b", "a-", 1]) {
    equal(readValue(type, raw).kind, "problem", String(raw));
  }
});

Deno.test("readValue: accepts host patterns with ports, but without paths", () => {
  const type = { kind: "host-patterns", max: 9 } as const;
  const good = ["mirror", "*.example.com:5000", "cache-*.example.com", "127.0.0.1:65001"];
  deepEqual(readValue(type, good), { kind: "value", value: good });
  for (
    const raw of [
      [],
      [""],
      ["a", "a"],
      ["https://mirror"],
      ["mirror/path"],
      ["user@mirror"],
      ["mirror:port"],
      ["a..b"],
      ["a b"],
      ["*.example.com?x"],
      [5],
      "mirror",
    ]
  ) {
    equal(readValue(type, raw).kind, "problem", JSON.stringify(raw));
  }
  deepEqual(rawFromText(type, "a, b:5000"), ["a", "b:5000"]);
});
