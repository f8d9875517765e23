import { doesNotMatch, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { AgentError } from "../../../lib/model/mod.ts";
import { parseDockerConfig } from "../../../lib/providers/docker/mod.ts";
import { readPluginResponse } from "../../../lib/providers/exec_plugin/mod.ts";
import { readProviderConfig } from "../../../lib/providers/exec_plugin/provider_config.ts";
import { readHelperAnswer } from "../../../lib/providers/docker/credential_helper_answer.ts";
import { firstJsonValue } from "../../../lib/formats/go_json.ts";
import { exited } from "../../fakes/process.ts";

/** Texts that are JSON of the right names and the wrong shapes, or nearly JSON, or anything. */
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

Deno.test("the readers of the resolve room never throw anything but AgentError", () => {
  fc.assert(
    fc.property(hostile, (text) => {
      readProviderConfig(text, "config.yaml");
      readPluginResponse(text, 0);
      readHelperAnswer(exited(text));
      try {
        parseDockerConfig(text);
      } catch (error) {
        ok(error instanceof AgentError, String(error));
      }
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("firstJsonValue finds the end of the first value, quotes and brackets in texts included", () => {
  const value = fc.oneof(fc.array(fc.json()), fc.dictionary(fc.string(), fc.json()));
  fc.assert(fc.property(value, fc.string(), (first, rest) => {
    const text = JSON.stringify(first);
    equal(JSON.stringify(firstJsonValue(`${text} }${rest}`)), JSON.stringify(JSON.parse(text)));
  }));
});

// With a second look from every quote, this would take a quarter of an hour.
Deno.test("readHelperAnswer takes one look at a text of 1 MiB that is never closed", () => {
  const answer = readHelperAnswer(exited(`{"${'\\"'.repeat(500_000)}`));
  equal(answer.kind === "failed" && answer.reason, "helper-invalid-response");
  equal(readHelperAnswer(exited("{".repeat(1_000_000))).kind, "failed");
});

Deno.test("the readers quote nothing of what they refuse", () => {
  const texts = ['{"hunter2', '{"auth":{"a":"hunter2"}}', '"hunter2"', '{"Secret":["hunter2"]}'];
  for (const text of texts) {
    const answers = [
      readPluginResponse(text, 0),
      readHelperAnswer(exited(text)),
      readHelperAnswer(exited(text, 1)),
    ];
    for (const answer of answers) doesNotMatch(Deno.inspect(answer, { depth: 9 }), /hunter2/);
  }
});
