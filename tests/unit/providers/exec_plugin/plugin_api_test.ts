import { doesNotMatch, equal } from "node:assert/strict";
import { readPluginResponse } from "../../../../lib/providers/mod.ts";
import { response } from "./plugins.ts";

Deno.test("readPluginResponse: rejects an invalid response without quoting it", () => {
  const good = response({ "a.io": ["u", "hunter2"] });
  const refused = [
    "",
    "null",
    `${good} trailing`,
    `${good}${good}`,
    `\ufeff${good}`,
    good.slice(0, -1),
    good.replace('"hunter2"', "1"),
    good.replace('"Registry"', '"Node"'),
    good.replace('"Registry"', "null"),
    good.replace("/v1", "/v1alpha1"),
    response({}, { duration: "hunter2" }),
    good.replace('"auth":{', '"cacheDuration":5,"auth":{'),
    good.replace(/"auth":\{.*\}\}/, '"auth":["hunter2"]}'),
    good.replace(/"auth":\{.*\}\}/, '"auth":{"a.io":"hunter2"}}'),
  ];
  for (const stdout of refused) {
    const reading = readPluginResponse(stdout, 1_000);
    equal(reading.kind, "failed", stdout);
    doesNotMatch(JSON.stringify(reading), /hunter2/);
  }
});

Deno.test("readPluginResponse: accepts surrounding white space and a null auth", () => {
  const reading = readPluginResponse(`\n ${response(null)}\r\n`, 1_000);
  equal(reading.kind === "responded" && reading.response.auth, undefined);
  equal(reading.kind === "responded" && reading.response.cacheDurationMs, 1_000);
});
