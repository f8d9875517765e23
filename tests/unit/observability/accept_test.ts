import { equal } from "node:assert/strict";
import { preferredForm } from "../../../lib/observability/accept.ts";

const PLAIN = "text/plain";
const OPEN = "application/openmetrics-text";

Deno.test("preferredForm: what scrapers send, and what RFC 9110 says of weights", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["", PLAIN],
    ["*/*", PLAIN],
    ["text/html", PLAIN],
    ["text/plain", PLAIN],
    [OPEN, OPEN],
    ["APPLICATION/OpenMetrics-Text; Version=1.0.0", OPEN],
    // Prometheus 2.42, and one that is told to ask for the text format.
    [
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75," +
      "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
      OPEN,
    ],
    ["text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5", PLAIN],
    // Prometheus 3 asks for escaped names in versions that we do not speak; 1.0.0 is among them.
    [
      "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," +
      "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2",
      OPEN,
    ],
    [`${OPEN};q=0, text/plain;q=0.1`, PLAIN],
    [`${OPEN};q=0`, PLAIN],
    [`${OPEN};q=0, */*`, PLAIN],
    [`text/plain;q=0, */*`, OPEN],
    [`${OPEN};version=9.0.0, text/plain;q=0.1`, PLAIN],
    [`${OPEN};q=nonsense, text/plain;q=0.1`, PLAIN],
    ["text/*;q=0.5, application/*;q=0.9", OPEN],
    [`text/plain, ${OPEN}`, PLAIN],
    [";;;,,,q=1", PLAIN],
  ];
  for (const [accept, form] of cases) equal(preferredForm(accept), form, accept);
});
