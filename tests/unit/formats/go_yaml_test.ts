import { deepEqual, match, ok, strictEqual } from "node:assert/strict";
import { goString, readGoYaml } from "../../../lib/formats/go_yaml.ts";

// Results of sigs.k8s.io/yaml v1.6.0 for a field of type string; undefined means rejected.
const SCALARS: Readonly<Record<string, string>> = {
  "y": "true",
  "yEs": "yEs",
  "off": "false",
  "oN": "oN",
  "~": "",
  "nUll": "nUll",
  "010": "8",
  "09": "9",
  "0o10": "8",
  "0o": "0o",
  "0x1F": "31",
  "-0b11": "-3",
  "1_000": "1000",
  "_1": "_1",
  "+1": "1",
  "1.": "1",
  ".5": "0.5",
  "1e": "1e",
  "1e3": "1000",
  "1e400": "1e400",
  "12:30": "12:30",
  "2026-01-01": "2026-01-01",
  "18446744073709551615": "18446744073709551615",
  '"yes"': "yes",
  "'010'": "010",
  "!!str 5": "5",
};

Deno.test("goString: converts scalars like the kubelet's loader", () => {
  const found = Object.keys(SCALARS).map((text) => {
    const reading = readGoYaml(`[${text}]`);
    const value = reading.kind === "ok" ? reading.value : undefined;
    return [text, Array.isArray(value) ? goString(value[0]) : undefined];
  });
  deepEqual(found, Object.entries(SCALARS));
});

Deno.test("goString: returns undefined for a list or an object", () => {
  deepEqual([[], {}, undefined].map(goString), [undefined, undefined, undefined]);
});

Deno.test("readGoYaml: stops after the first document and the first error", () => {
  deepEqual(readGoYaml("a: 1\n---\nb: 2\n---\n}}}"), { kind: "ok", value: { a: 1n } });
  const first = readGoYaml(`a: 1\n]\n${"]".repeat(100_000)}`);
  ok(first.kind === "invalid");
  strictEqual(first.place, "line 2, column 1");
});

Deno.test("readGoYaml: rejects a text with too many tokens", () => {
  const most = readGoYaml("- a\n".repeat(6_000));
  strictEqual(most.kind, "ok");
  const more = readGoYaml("- a\n".repeat(20_000));
  ok(more.kind === "invalid");
  match(more.detail, /too many parts/);
  const long = readGoYaml(`a: ${"b".repeat(1_000_000)}`);
  strictEqual(long.kind, "ok", "a long text is one part");
});
