import { equal, match, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import { AgentError, formatDuration, parseDurationMs } from "../../../lib/model/mod.ts";

const REFUSED = { name: "AgentError", code: "invalid-duration" };

Deno.test("parseDurationMs: sums numbers with units", () => {
  equal(parseDurationMs("1h30m"), 5_400_000);
  equal(parseDurationMs("-1.5h"), -5_400_000);
  equal(parseDurationMs("+0"), 0);
  equal(parseDurationMs("1.5ms"), 1.5);
  equal(parseDurationMs("1.s.5s"), 1_500);
  equal(parseDurationMs("1µs1μs1us"), 0.003);
  equal(parseDurationMs(`${"0".repeat(500)}1ns`), 0.000_001);
});

Deno.test("parseDurationMs: rounds fractions to nanoseconds", () => {
  equal(parseDurationMs("0.3333333333333333333h"), 1_200_000);
  equal(parseDurationMs("0.100000000000000000000h"), 360_000);
  equal(parseDurationMs("1.001s"), 1_001);
  equal(parseDurationMs(`0.${"0".repeat(1_000)}1h`), 0);
});

Deno.test("parseDurationMs: rejects values beyond 64 bits", () => {
  const tooLarge = [
    "9223372036854775808ns",
    "-9223372036854775809ns",
    "9223372036854ms775us808ns",
    "2562047h47m16.854775808s",
    "9223372036854775808ns9223372036854775808ns", // Go's sum wraps to 0 here
    `${"9".repeat(10_000)}h`,
  ];
  for (const text of tooLarge) throws(() => parseDurationMs(text), REFUSED, text);
  equal(parseDurationMs("2562047h"), 2_562_047 * 3_600_000);
});

Deno.test("parseDurationMs: quotes at most 40 characters", () => {
  throws(() => parseDurationMs("x".repeat(40)), { message: /"x{40}"/ });
  throws(() => parseDurationMs("x".repeat(41)), { message: /"x{40}…"/ });
});

Deno.test("parseDurationMs: rejects an invalid duration with the reason", () => {
  const reasons: [string, RegExp][] = [
    ["", /no number$/],
    ["-", /no number$/],
    [".s", /no number$/],
    ["h", /no number$/],
    ["1", /missing unit$/],
    ["1.5.5s", /missing unit$/],
    ["1d", /unknown unit$/],
    ["1h ", /unknown unit$/],
    ["1S", /unknown unit$/],
    ["1constructor", /unknown unit$/],
    ["1__proto__", /unknown unit$/],
  ];
  for (const [text, reason] of reasons) {
    throws(() => parseDurationMs(text), (error) => {
      ok(error instanceof AgentError);
      match(error.message, reason);
      return true;
    }, text);
  }
  for (const text of ["1h-1m", " 1h", "--1s", "1e3s", "0x1s", "∞", "1h\n", "٣s"]) {
    throws(() => parseDurationMs(text), REFUSED, text);
  }
});

Deno.test("parseDurationMs: quotes only the start of a long text", () => {
  throws(() => parseDurationMs("x".repeat(100_000)), (error) => {
    ok(error instanceof AgentError && error.message.length < 120);
    return true;
  });
});

Deno.test("parseDurationMs: parses what Go prints, with either sign", () => {
  const part = (max: number) => fc.integer({ min: 0, max });
  fc.assert(fc.property(part(2_000_000), part(59), part(59), part(999_999_999), (h, m, s, ns) => {
    const text = `${h}h${m}m${s}.${String(ns).padStart(9, "0")}s`;
    const wantMs = (h * 3_600 + m * 60 + s) * 1_000 + ns / 1e6;
    ok(Math.abs(parseDurationMs(text) - wantMs) <= 1e-6 + wantMs * 1e-15);
    equal(parseDurationMs(`-${text}`), -parseDurationMs(text));
  }));
});

Deno.test("parseDurationMs: throws only AgentError", () => {
  const piece = fc.constantFrom(..."0159.+-hmsnuµ ".split(""), "ms", "9223372036854775808", "1.5h");
  const text = fc.oneof(fc.array(piece, { maxLength: 10 }).map((a) => a.join("")), fc.string());
  fc.assert(
    fc.property(text, (text) => {
      try {
        ok(Math.abs(parseDurationMs(text)) < 2 ** 63 / 1e6);
      } catch (error) {
        ok(error instanceof AgentError, String(error));
      }
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("formatDuration: shows the two largest units", () => {
  const shown: [number, string][] = [
    [0, "0ms"],
    [-0.3, "0ms"],
    [0.4, "0ms"],
    [800, "800ms"],
    [999.7, "1s"],
    [1_000, "1s"],
    [1_500, "1.5s"],
    [9_999, "9.9s"],
    [9_999.9, "10s"],
    [45_000, "45s"],
    [59_999, "59s"],
    [60_000, "1m"],
    [61_000, "1m1s"],
    [3_599_999, "59m59s"],
    [3 * 3_600_000 + 12 * 60_000 + 59_000, "3h12m"],
    [47 * 3_600_000, "47h"],
    [48 * 3_600_000, "2d"],
    [49 * 3_600_000, "2d1h"],
    [-90_000, "-1m30s"],
    [Infinity, "indefinitely"],
    [NaN, "unknown"],
    [47 * 3_600_000 + 59 * 60_000, "47h59m"],
    [48 * 3_600_000, "2d"],
    [75 * 3_600_000, "3d3h"],
  ];
  for (const [ms, text] of shown) equal(formatDuration(ms), text, String(ms));
});
