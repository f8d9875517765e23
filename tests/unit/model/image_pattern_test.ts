import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  AgentError,
  comparePatterns,
  ImagePattern,
  parseImageTarget,
} from "../../../lib/model/mod.ts";

const REFUSED = { name: "AgentError", code: "invalid-pattern" };

function matchImage(pattern: string, image: string): boolean {
  return ImagePattern.parse(pattern).matches(parseImageTarget(image));
}

Deno.test("ImagePattern: keeps its text and can match repeatedly", () => {
  const pattern = ImagePattern.parse("*.reg.io/team");
  equal(pattern.text, "*.reg.io/team");
  for (let i = 0; i < 3; i++) {
    ok(pattern.matches(parseImageTarget("a.reg.io/team/app:v1")));
    ok(!pattern.matches(parseImageTarget("reg.io/team/app:v1")));
  }
});

Deno.test("ImagePattern: a wildcard matches any part of one label", () => {
  for (const pattern of ["*.io", "r*.io", "*g.io", "r*g.io", "*e*.io", "**.io", "reg*.io", "*.*"]) {
    ok(matchImage(pattern, "reg.io/a"), pattern);
  }
  for (const pattern of ["*", "*.*.*", "*x*.io", "r*r.io", "reg*g.io", "*.io.", "*reg.*io.*"]) {
    ok(!matchImage(pattern, "reg.io/a"), pattern);
  }
});

Deno.test("ImagePattern: has no wildcards in ports and paths", () => {
  throws(() => matchImage("reg.io:*", "reg.io:5000/a"), REFUSED);
  ok(!matchImage("reg.io/*", "reg.io/a"));
  ok(matchImage("reg.io/*", "reg.io/*x"));
});

Deno.test("ImagePattern: requires equal ports, or none in both", () => {
  ok(matchImage("reg.io:5000", "reg.io:5000/a"));
  ok(!matchImage("reg.io:5000", "reg.io:5001/a"));
  ok(!matchImage("reg.io:5000", "reg.io/a"));
  ok(!matchImage("reg.io", "reg.io:5000/a"));
  ok(matchImage("reg.io:", "reg.io/a"));
  ok(matchImage("[::1]:5000", "[::1]:5000/a"));
});

Deno.test("ImagePattern: an IPv6 host without a port matches nothing", () => {
  for (const pattern of ["[::1]", "[::ffff:1.2.3.4]/a"]) {
    for (const image of ["[::1]/a", "1/a", "[::ffff:1.2.3.4]/a", "a.2.3.4/a"]) {
      ok(!matchImage(pattern, image), `${pattern} ${image}`);
    }
  }
  ok(matchImage("*", "[::1]/a"));
});

Deno.test("ImagePattern.isBracketedIpv6: is true for an IPv6 host without a port", () => {
  const misses = (pattern: string) => ImagePattern.parse(pattern).isBracketedIpv6;
  ok(misses("[::1]") && misses("[::ffff:1.2.3.4]/a"));
  ok(!misses("[::1]:5000") && !misses("*.io") && !misses("reg.io/[a]"));
});

Deno.test("ImagePattern: compares the path as a prefix, without unescaping it", () => {
  ok(matchImage("reg.io/a/b", "reg.io/a/b/c"));
  ok(!matchImage("reg.io/a%2Fb", "reg.io/a/b/c"));
  ok(matchImage("reg.io/a%2Fb", "reg.io/a%2Fb/c"));
  ok(!matchImage("reg.io/a", "reg.io/A"));
  ok(!matchImage("reg.io/", "reg.io"));
});

Deno.test("parseImageTarget: removes user info, query and fragment", () => {
  const plain = { labels: ["reg", "io"], port: "5000", path: "/a" };
  for (const text of ["reg.io:5000/a", "u@reg.io:5000/a", "u:p@x@reg.io:5000/a"]) {
    deepEqual(parseImageTarget(text), plain, text);
  }
  for (const text of ["reg.io:5000/a?x", "reg.io:5000/a#x", "reg.io:5000/a?%#\u0001"]) {
    deepEqual(parseImageTarget(text), plain, text);
  }
});

Deno.test("parseImageTarget: splits host and port like Go", () => {
  const hosts: [string, readonly string[], string][] = [
    ["reg.io:", ["reg", "io"], ""],
    [":5000", [""], "5000"],
    ["", [""], ""],
    ["a:1:2", ["a:1:2"], ""],
    ["b\u00fc.io:1", ["b\u00fc", "io"], "1"],
    ["[::1]", ["[::1]"], ""],
    ["[::1]:", ["::1"], ""],
    ["[::ffff:1.2.3.4]:1", ["::ffff:1", "2", "3", "4"], "1"],
  ];
  for (const [host, labels, port] of hosts) {
    deepEqual(parseImageTarget(`${host}/a`), { labels, port, path: "/a" }, host);
  }
});

Deno.test("parseImageTarget: accepts brackets only around an IPv6 address", () => {
  const good = [
    "::",
    "::1",
    "1:2:3:4:5:6:7:8",
    "1::8",
    "::1.2.3.4",
    "FE80::1",
    "1:2:3:4:5:6:7::",
  ];
  for (const address of good) parseImageTarget(`[${address}]:80/a`);
  const bad = [
    "",
    "a",
    "1.2.3.4",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4::5:6:7:8",
    "12345::",
    "::g",
    ":1",
    "1:",
    "::1.2.3",
    "::1.2.3.4.5",
    "::01.2.3.4",
    "::256.2.3.4",
    "1.2.3.4::",
    "::1.2.3.4:1",
    "::1%25",
    "::1%",
    "::1%25%2F",
  ];
  for (const address of bad) throws(() => parseImageTarget(`[${address}]:80/a`), REFUSED, address);
});

Deno.test("parseImageTarget: rejects an invalid host, control characters and long texts", () => {
  const bad = [
    "reg.io:port/a",
    "reg io/a",
    "a]b.io:1",
    "[::1]x",
    "[::1]:5000x",
    "%41.io",
    "%.io",
    "r\\eg.io",
    "r^g.io",
    "{a,b}.io",
    "[a-c].io",
    "x[::1]/a",
    "[::1/a",
    "reg.io/\u0000",
    "reg.io/\u007f",
    `reg.io/${"a".repeat(5_000)}`,
  ];
  for (const text of bad) throws(() => parseImageTarget(text), REFUSED, text);
});

Deno.test("parseImageTarget: hides user info in its message", () => {
  throws(() => parseImageTarget("me:hunter2@r%eg.io/a"), (error) => {
    ok(error instanceof AgentError && !error.message.includes("hunter2"), String(error));
    match(
      error.message,
      /^failed to parse image pattern "\[hidden\]@r%eg\.io\/a": invalid character/,
    );
    return true;
  });
});

Deno.test("ImagePattern: canonical has host, port and path", () => {
  for (const text of ["reg.io", "*.reg.io:5000/a"]) {
    equal(ImagePattern.parse(text).canonical, text);
  }
});

Deno.test("comparePatterns: uses reverse order of UTF-8 bytes", () => {
  ok(comparePatterns("b", "a") < 0);
  ok(comparePatterns("a", "ab") > 0);
  ok(comparePatterns("ab", "a") < 0);
  equal(comparePatterns("a", "a"), 0);
  // In UTF-8, U+FF5E starts with EF and U+1F600 with F0; in UTF-16, the latter starts with D83D.
  ok(comparePatterns("\u{1f600}", "\uff5e") < 0);
  ok("\u{1f600}" < "\uff5e");
});

Deno.test("comparePatterns: is a total order", () => {
  const unit = fc.constantFrom("a", "*", "/", "\u00e9", "\uff5e", "\ud83d", "\u{1f600}");
  const text = fc.string({ unit, maxLength: 4 });
  fc.assert(fc.property(text, text, text, (a, b, c) => {
    equal(Math.sign(comparePatterns(a, b)), -Math.sign(comparePatterns(b, a)) || 0);
    if (comparePatterns(a, b) <= 0 && comparePatterns(b, c) <= 0) ok(comparePatterns(a, c) <= 0);
    const sorted = [a, b, c].sort(comparePatterns);
    const bytes = (s: string) => new TextEncoder().encode(s).toHex();
    deepEqual(sorted.map(bytes), [a, b, c].map(bytes).sort().reverse());
  }));
});

/** The definition of a match by exhaustive search; only for short texts. */
function matchesSlowly(pattern: string, label: string): boolean {
  if (pattern === "") return label === "";
  if (pattern[0] !== "*") {
    return pattern[0] === label[0] && matchesSlowly(pattern.slice(1), label.slice(1));
  }
  return Array.from({ length: label.length + 1 }, (_, i) => label.slice(i))
    .some((rest) => matchesSlowly(pattern.slice(1), rest));
}

Deno.test("ImagePattern: agrees with the definition of a wildcard", () => {
  const pattern = fc.array(fc.constantFrom("a", "b", "*"), { maxLength: 7 }).map((a) => a.join(""));
  const label = fc.array(fc.constantFrom("a", "b"), { maxLength: 8 }).map((a) => a.join(""));
  fc.assert(
    fc.property(pattern, label, (p, l) => {
      equal(matchImage(`${p}.io`, `${l}.io/x`), matchesSlowly(p, l));
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("ImagePattern: throws only AgentError, and every image matches itself", () => {
  const piece = fc.constantFrom(..."ab.*:/@%?#[]é\\ \n".split(""), "::1", "%25", "%41", "5000");
  const text = fc.oneof(fc.array(piece, { maxLength: 10 }).map((a) => a.join("")), fc.string());
  fc.assert(
    fc.property(text, text, (a, b) => {
      try {
        matchImage(a, b);
        if (!ImagePattern.parse(a).isBracketedIpv6) ok(matchImage(a, a));
      } catch (error) {
        ok(error instanceof AgentError, String(error));
      }
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("ImagePattern: runs in linear time with many wildcards", () => {
  // With backtracking this would not terminate.
  const pattern = `${"*a".repeat(2_000)}b.io`;
  ok(!matchImage(pattern, `${"a".repeat(4_000)}.io/x`));
  ok(matchImage(`${"*a".repeat(2_000)}*.io`, `${"a".repeat(4_000)}.io/x`));
});
