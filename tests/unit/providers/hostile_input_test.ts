import { doesNotMatch, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { firstJsonValue } from "../../../lib/formats/go_json.ts";
import { AgentError } from "../../../lib/model/mod.ts";
import { readHelperResult } from "../../../lib/providers/docker/docker_provider.ts";
import { readProviderConfig } from "../../../lib/providers/exec_plugin/provider_config.ts";
import { parseDockerConfig, readPluginResponse } from "../../../lib/providers/mod.ts";
import { exited } from "../../fakes/process.ts";

/** Field names for generated JSON with unexpected shapes. */
const NAMES = [
  "auths",
  "auth",
  "credsStore",
  "providers",
  "name",
  "env",
  "cacheDuration",
  "Secret",
];
const shaped = fc.object({ key: fc.constantFrom(...NAMES), maxDepth: 3 }).map((value) =>
  JSON.stringify(value)
);
const hostile = fc.oneof(shaped, shaped.map((text) => text.slice(0, -3)), fc.json(), fc.string());

Deno.test("provider input readers: throw nothing but AgentError", () => {
  fc.assert(
    fc.property(hostile, (text) => {
      readProviderConfig(text, "config.yaml");
      readPluginResponse(text, 0);
      readHelperResult(exited(text), 1);
      try {
        parseDockerConfig(text);
      } catch (error) {
        ok(error instanceof AgentError, String(error));
      }
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("firstJsonValue: finds the end of the first value, also with quotes and brackets in strings", () => {
  const value = fc.oneof(fc.array(fc.json()), fc.dictionary(fc.string(), fc.json()));
  fc.assert(fc.property(value, fc.string(), (first, rest) => {
    const text = JSON.stringify(first);
    equal(JSON.stringify(firstJsonValue(`${text} }${rest}`)), JSON.stringify(JSON.parse(text)));
  }));
});

// In quadratic time, this would take a quarter of an hour.
Deno.test("readHelperResult: reads an unterminated text of 1 MiB in linear time", () => {
  const result = readHelperResult(exited(`{"${'\\"'.repeat(500_000)}`), 1);
  equal(result.kind === "failed" && result.reason, "helper-invalid-response");
  equal(readHelperResult(exited("{".repeat(1_000_000)), 1).kind, "failed");
});

Deno.test("provider input readers: do not quote rejected input", () => {
  const texts = ['{"hunter2', '{"auth":{"a":"hunter2"}}', '"hunter2"', '{"Secret":["hunter2"]}'];
  for (const text of texts) {
    const results = [
      readPluginResponse(text, 0),
      readHelperResult(exited(text), 1),
      readHelperResult(exited(text, 1), 1),
    ];
    for (const result of results) doesNotMatch(Deno.inspect(result, { depth: 9 }), /hunter2/);
  }
});
