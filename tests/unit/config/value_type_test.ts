import { deepEqual, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { CONFIG_KEYS } from "../../../lib/config/mod.ts";
import {
  ADDRESS,
  ANY_DURATION,
  BOOLEAN,
  choice,
  DAEMON_ID,
  describeFound,
  duration,
  HOST_PATTERNS,
  integer,
  KUBE_NAME,
  PATH,
  PATH_OR_OFF,
  readText,
  readValue,
} from "../../../lib/config/value_type.ts";

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
    deepEqual(readValue(ADDRESS, text), { kind: "value", value }, text);
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
    equal(readValue(ADDRESS, raw).kind, "problem", String(raw));
  }
});

Deno.test("readValue: names the limit of a port", () => {
  const result = readValue(ADDRESS, "127.0.0.1:70000");
  ok(result.kind === "problem");
  match(result.problem, /a port of at most 65535/);
});

Deno.test("readValue: reads Go durations within inclusive bounds", () => {
  const type = duration("100ms", "1h");
  const good = [["100ms", 100], ["1h", 3_600_000], ["1m30s", 90_000], ["0.5s", 500]] as const;
  for (const [text, value] of good) deepEqual(readValue(type, text), { kind: "value", value });
  for (const raw of ["99ms", "1h1ms", "0", "0s", "-1m", "1d", "", " 1m", "1M", "auto", 5, 1.5]) {
    equal(readValue(type, raw).kind, "problem", String(raw));
  }
});

Deno.test("readValue: accepts zero, auto and nanoseconds only if the type allows them", () => {
  deepEqual(readValue(duration("100ms", "1s", "0s"), "0s"), { kind: "value", value: 0 });
  equal(readValue(duration("100ms", "1s", "0s"), "50ms").kind, "problem");
  equal(readValue(duration("100ms", "1s", "0s"), "auto").kind, "problem");
  deepEqual(readValue(duration("100ms", "1s", "auto"), "auto"), { kind: "value", value: "auto" });
  equal(readValue(duration("100ms", "1s", "auto"), "0s").kind, "problem");
  deepEqual(readValue(ANY_DURATION, 5e8), { kind: "value", value: 500 });
  deepEqual(readValue(ANY_DURATION, "-1s"), { kind: "value", value: -1_000 });
  for (const raw of [0.5e9 + 0.5, NaN, Infinity]) {
    equal(readValue(ANY_DURATION, raw).kind, "problem", String(raw));
  }
});

Deno.test("readValue: rejects invalid paths", () => {
  for (const raw of ["", "a", "./a", "../a", "~/a", "/a\0b", 5, ["/a"]]) {
    equal(readValue(PATH, raw).kind, "problem", String(raw));
  }
  equal(readValue(PATH, "off").kind, "problem");
  deepEqual(readValue(PATH_OR_OFF, ""), { kind: "value", value: "off" });
});

Deno.test("readValue: rejects daemon ids that are not valid in keys", () => {
  for (const raw of ["", "a/b", ".a", "-a", "a b", "é", "a".repeat(129), 5]) {
    equal(readValue(DAEMON_ID, raw).kind, "problem", String(raw));
  }
  equal(readValue(DAEMON_ID, "a.B-1_c").kind, "value");
});

Deno.test("describeFound: cuts long texts", () => {
  match(describeFound("x".repeat(80)), /^the text "x{80}"$/);
  match(describeFound("x".repeat(81)), /^the text "x{80}…"$/);
});

Deno.test("readText: reads booleans, numbers and lists where the type is one", () => {
  const cases = [
    [BOOLEAN, "true", true],
    [BOOLEAN, "false", false],
    [integer(0, 9), "7", 7],
    [integer(0, 9), "+7", 7],
    [integer(0, 9), "007", 7],
    [choice("true"), "true", "true"],
    [HOST_PATTERNS, "a, b:5000", ["a", "b:5000"]],
    [PATH, "/a,b", "/a,b"],
  ] as const;
  for (const [type, text, value] of cases) {
    deepEqual(readText<unknown>(type, text), { kind: "value", value }, text);
  }
  for (const text of ["True", "1", "yes", ""]) equal(readText(BOOLEAN, text).kind, "problem", text);
  for (const text of [" 7", "1e0", "0x1", "1.0", "-1", "10"]) {
    const problem = `found the text "${text}", expected an integer from 0 to 9`;
    deepEqual(readText(integer(0, 9), text), { kind: "problem", problem });
  }
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

Deno.test("readValue: accepts a Kubernetes object name", () => {
  const type = KUBE_NAME;
  equal(readValue(type, "node-1.example.com").kind, "value");
  equal(readValue(type, "a".repeat(253)).kind, "value");
  equal(readValue(type, "a".repeat(254)).kind, "problem");
  for (const raw of ["", "Node", "a_b", "a..b", "a-", 1]) {
    equal(readValue(type, raw).kind, "problem", String(raw));
  }
});

Deno.test("readValue: accepts host patterns with ports, but without paths", () => {
  const type = HOST_PATTERNS;
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
  equal(readValue(type, Array.from({ length: 256 }, (_, i) => `h${i}`)).kind, "value");
  equal(readValue(type, Array.from({ length: 257 }, (_, i) => `h${i}`)).kind, "problem");
  match(
    JSON.stringify(readValue(type, ["a", "b/c"])),
    /found the text \\"b\/c\\", expected a list/,
  );
});
