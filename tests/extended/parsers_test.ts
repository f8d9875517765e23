import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { AgentError } from "../../lib/model/mod.ts";
import { readGoYaml } from "../../lib/formats/go_yaml.ts";
import { growthOf } from "./growth.ts";
import { growing, hostileText } from "./hostile_texts.ts";
import { TEXT_PARSERS, type TextParser } from "./parsers.ts";

async function judge({ name, refuses, parse }: TextParser, text: string): Promise<void> {
  try {
    await parse(text);
  } catch (error) {
    ok(refuses && error instanceof AgentError, `${name} threw ${Deno.inspect(error)}`);
  }
}

for (const parser of TEXT_PARSERS) {
  Deno.test(`${parser.name}: throws only AgentError`, async () => {
    await fc.assert(fc.asyncProperty(hostileText, (text) => judge(parser, text)), {
      numRuns: 200,
    });
    for (const { of } of growing()) await judge(parser, of(5_000));
  });
}

const BUILT_ON_YAML = ["readProviderConfig", "readKubeconfig"];

Deno.test("parsers: run in linear time", async () => {
  const slow: string[] = [];
  for (const { name, parse } of TEXT_PARSERS) {
    for (const shape of growing()) {
      // readGoYaml is tested separately; these parsers only add work per element.
      if (BUILT_ON_YAML.includes(name) && !shape.name.startsWith("many")) continue;
      const growth = await growthOf(parse, shape.of);
      if (!growth.isLinear) slow.push(`${name} of ${shape.name}: ${growth.details}`);
    }
  }
  deepStrictEqual(slow, []);
});

// Formatting each error scans the whole text.
Deno.test("readGoYaml: spends no time on unused error texts", async () => {
  const { isLinear, details } = await growthOf(readGoYaml, (n) => "!!str ".repeat(n / 6), 131_072);
  ok(isLinear, details);
});

Deno.test("growthOf: distinguishes linear from quadratic work", async () => {
  let sum = 0;
  const linear = await growthOf((text) => {
    for (let i = 0; i < text.length * 200; i++) sum += text.charCodeAt(i % text.length);
  }, (n) => "a".repeat(n));
  strictEqual(linear.isLinear, true, linear.details);
  const quadratic = await growthOf((text) => {
    for (let i = 0; i < text.length; i++) {
      for (let j = i; j < text.length; j++) sum += text.charCodeAt(j);
    }
  }, (n) => "a".repeat(n));
  strictEqual(quadratic.isLinear, false, quadratic.details);
  ok(sum > 0, "prevents the compiler from removing the work");
});
