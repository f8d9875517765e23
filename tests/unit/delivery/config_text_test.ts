import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { rewriteConfigText, type UsableCredential } from "../../../lib/delivery/deliverer.ts";
import { Secret } from "../../../lib/model/mod.ts";

const BASIC: UsableCredential = { kind: "basic", username: "u", password: new Secret("new") };
const TOKEN: UsableCredential = { kind: "registry-token", token: new Secret("bearer") };
const AUTH = btoa("u:new");
const OLD = btoa("u:old");

const fuse = (backend: string) => `{"device":{"backend":{"type":"registry","config":${backend}}}}`;

function rewritten(text: string, credential: UsableCredential = BASIC, fill = false): string {
  const outcome = rewriteConfigText(text, credential, fill);
  ok(outcome.kind === "changed", outcome.kind);
  return outcome.text;
}

Deno.test("rewriteConfigText: keeps every other field and the digits of numbers", () => {
  const before = `{"device":{"id":"/7","backend":{"type":"registry","config":{"retry_limit":0,` +
    `"big":9007199254740993,"one":1.0,"exp":1E400,"auth2":"/","auth":"${OLD}",` +
    `"unknown":{"auth":"not me"},"list":[{"auth":1},"}"]}}},"z":[]}`;
  strictEqual(rewritten(before), before.replace(OLD, AUTH));
});

Deno.test("rewriteConfigText: returns unchanged for the same credential", () => {
  const text = fuse(`{"auth":"${AUTH}"}`);
  strictEqual(rewriteConfigText(text, BASIC, false).kind, "unchanged");
});

Deno.test("rewriteConfigText: adds no credential to a secret-free file unless requested", () => {
  for (const text of [fuse("{}"), fuse('{"host":"h"}'), fuse('{"auth":"","registry_token":""}')]) {
    strictEqual(rewriteConfigText(text, BASIC, false).kind, "secret-free");
    strictEqual(JSON.parse(rewritten(text, BASIC, true)).device.backend.config.auth, AUTH);
  }
});

Deno.test("rewriteConfigText: removes the unused form", () => {
  const both = fuse(`{"host":"h","registry_token":"stale","repo":"r"}`);
  deepStrictEqual(JSON.parse(rewritten(both)).device.backend.config, {
    auth: AUTH,
    host: "h",
    repo: "r",
  });
  const last = fuse(`{"host":"h","auth":"${OLD}"}`);
  deepStrictEqual(JSON.parse(rewritten(last, TOKEN)).device.backend.config, {
    host: "h",
    registry_token: "bearer",
  });
});

Deno.test("rewriteConfigText: finds the credential of fscache, and refuses other documents", () => {
  const fscache = `{"type":"bootstrap","config":{"backend_config":{"auth":"${OLD}"}}}`;
  const outcome = rewriteConfigText(fscache, BASIC, false);
  ok(outcome.kind === "changed" && outcome.text === fscache.replace(OLD, AUTH));
  for (
    const text of [
      "",
      "{",
      "[]",
      "{}",
      '{"device":[]}',
      '{"device":{"backend":{"config":"text"}}}',
      '{"device":{"backend":{"config":null}}}',
      '{"device":{"backend":{"config":3}}}',
    ]
  ) {
    strictEqual(rewriteConfigText(text, BASIC, true).kind, "failed", text);
  }
});

Deno.test("rewriteConfigText: replaces duplicate keys", () => {
  const text = fuse(`{"auth":"${OLD}","auth":"${OLD}"}`);
  strictEqual(JSON.parse(rewritten(text)).device.backend.config.auth, AUTH);
});

Deno.test("rewriteConfigText: changes only the credential in any document", () => {
  const documents = fc.record({
    before: fc.dictionary(fc.string(), fc.jsonValue()),
    backend: fc.dictionary(fc.string().filter((key) => key !== "__proto__"), fc.jsonValue()),
    space: fc.constantFrom(undefined, 1, "\t"),
  });
  fc.assert(fc.property(documents, ({ before, backend, space }) => {
    const rest = { ...backend };
    delete rest["auth"];
    delete rest["registry_token"];
    const config = { ...rest, auth: OLD };
    const document = { ...before, device: { backend: { config } } };
    const text = JSON.stringify(document, null, space);
    const after = JSON.parse(rewritten(text));
    const wanted = JSON.parse(text);
    wanted.device.backend.config.auth = AUTH;
    deepStrictEqual(after, wanted);
  }));
});

Deno.test("rewriteConfigText: refuses a file with another host", () => {
  const text = fuse(`{"host":"mirror:5000","auth":"${OLD}"}`);
  const backend = { skipVerify: false, caFiles: [], mirrors: [] };
  for (const instance of [{ backend: { ...backend, host: "mirror:5000" } }, { backend }, {}]) {
    strictEqual(rewriteConfigText(text, BASIC, false, instance).kind, "changed");
  }
  const instance = { backend: { ...backend, host: "registry.example.com" } };
  const other = rewriteConfigText(text, BASIC, false, instance);
  ok(other.kind === "failed" && other.detail.includes("mirror:5000"), other.kind);
});

Deno.test("rewriteConfigText: refuses a backend other than a registry", () => {
  for (const type of ["localfs", "oss", "s3", 7, null]) {
    const fuse = JSON.stringify({ device: { backend: { type, config: { dir: "/x" } } } });
    strictEqual(rewriteConfigText(fuse, BASIC, true).kind, "failed", String(type));
    const fscache = JSON.stringify({ config: { backend_type: type, backend_config: {} } });
    strictEqual(rewriteConfigText(fscache, BASIC, true).kind, "failed", String(type));
  }
});
