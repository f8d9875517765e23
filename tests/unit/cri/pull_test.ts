import assert from "node:assert/strict";
import { outcomeOf } from "../../../lib/cri/reader.ts";

Deno.test("outcomeOf: status 0 is a success, regardless of the message", () => {
  assert.equal(outcomeOf("0", ""), "succeeded");
  assert.equal(outcomeOf("0", "401 Unauthorized"), "succeeded");
});

Deno.test("outcomeOf: detects refusals in the messages of containerd, CRI-O and registries", () => {
  const resolve = 'failed to pull and unpack image "r.example/a:b": failed to resolve reference ' +
    '"r.example/a:b": ';
  for (
    const text of [
      `${resolve}unexpected status from HEAD request to https://r.example/v2/a: 401 Unauthorized`,
      `${resolve}unexpected status from HEAD request to https://r.example/v2/a: 403 Forbidden`,
      `${resolve}failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized`,
      `${resolve}pull access denied, repository does not exist or may require authorization: ` +
      "server message: insufficient_scope: authorization failed",
      "reading manifest b in r.example/a: unauthorized: authentication required",
      "reading manifest b in r.example/a: denied: requested access to the resource is denied",
      "initializing source: unable to retrieve auth token: invalid username/password: " +
      "unauthorized: incorrect username or password",
      "no basic auth credentials",
      "unexpected status code 403: forbidden",
    ]
  ) assert.equal(outcomeOf("2", text), "refused", text);
  assert.equal(outcomeOf("16", ""), "refused");
  assert.equal(outcomeOf("7", ""), "refused");
});

Deno.test("outcomeOf: other failures are not refusals", () => {
  for (
    const text of [
      "",
      "failed to extract layer: mkdir /var/lib/x: permission denied",
      "failed to authorize: failed to fetch oauth token: dial tcp 10.0.0.1:443: i/o timeout",
      "unexpected status from HEAD request: 429 Too Many Requests",
      "unexpected status from HEAD request: 503 Service Unavailable",
      "not found",
      "context canceled",
      "size 401 of layer 403 is wrong",
    ]
  ) assert.equal(outcomeOf("2", text), "failed", text);
  for (const status of ["", "1", "4", "14", "00", "x"]) {
    assert.equal(outcomeOf(status, ""), "failed");
  }
});
