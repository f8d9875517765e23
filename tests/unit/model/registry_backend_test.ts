import { deepStrictEqual, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { hostOf, readBackendOfFile, readRegistryBackend } from "../../../lib/model/mod.ts";

const EMPTY = { skipVerify: false, caFiles: [], mirrors: [] };

Deno.test("readRegistryBackend: reads nydusd's connection settings without the credential", () => {
  const backend = readRegistryBackend({
    scheme: "http",
    host: "mirror:5000",
    repo: "a/b",
    auth: "c2VjcmV0OnNlY3JldA==",
    registry_token: "secret",
    skip_verify: true,
    ca_cert_files: ["/ca.pem"],
    proxy: { url: "http://127.0.0.1:65001", use_http: true, fallback: false, ping_url: "x" },
    mirrors: [{ host: "http://m1", headers: {} }, { host: "" }, "m2"],
  });
  deepStrictEqual(backend, {
    scheme: "http",
    host: "mirror:5000",
    repo: "a/b",
    skipVerify: true,
    caFiles: ["/ca.pem"],
    mirrors: ["http://m1"],
    proxy: { url: "http://127.0.0.1:65001", useHttp: true, fallback: false },
  });
});

Deno.test("readRegistryBackend: reads at most 64 mirrors and 64 files", () => {
  const mirrors = Array.from({ length: 65 }, (_, i) => ({ host: `m${i}` }));
  const backend = readRegistryBackend({ host: "h", mirrors, ca_cert_files: Array(65).fill("f") });
  deepStrictEqual([backend?.mirrors.length, backend?.caFiles.length], [64, 64]);
});

Deno.test("readRegistryBackend: returns undefined without a host and ignores wrong types", () => {
  for (const section of [undefined, null, [], "h", 7, {}, { host: "" }, { host: 5 }]) {
    strictEqual(readRegistryBackend(section), undefined);
  }
  const invalid = { host: "h", repo: 1, scheme: null, skip_verify: "true", ca_cert_files: "x" };
  deepStrictEqual(readRegistryBackend({ ...invalid, mirrors: {}, proxy: { url: "" } }), {
    host: "h",
    ...EMPTY,
  });
});

Deno.test("readBackendOfFile: reads the files of both drivers and a template without a host", () => {
  const fuse = { device: { backend: { type: "registry", config: { host: "a" } } } };
  deepStrictEqual(readBackendOfFile(fuse), { host: "a", ...EMPTY });
  deepStrictEqual(readBackendOfFile({ config: { backend_config: { host: "b" } } }), {
    host: "b",
    ...EMPTY,
  });
  const template = { device: { backend: { config: { scheme: "https" } } } };
  deepStrictEqual(readBackendOfFile(template), { scheme: "https", ...EMPTY });
  strictEqual(readBackendOfFile({ device: {} }), undefined);
});

Deno.test("readBackendOfFile: never throws", () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => void readBackendOfFile(value)));
});

Deno.test("hostOf: returns the host and port of the connection", () => {
  const cases: [string, string, string | undefined][] = [
    ["Mirror.Example.com", "https", "mirror.example.com"],
    ["mirror:5000", "http", "mirror:5000"],
    ["mirror:443", "https", "mirror"],
    ["mirror:443", "http", "mirror:443"],
    ["http://mirror:80/v2/x?y#z", "https", "mirror"],
    ["registry.example.com@evil.example", "https", "evil.example"],
    ["user:password@mirror:5000", "https", "mirror:5000"],
    ["[::1]:5000", "http", "[::1]:5000"],
    ["a b", "https", undefined],
    ["", "https", undefined],
  ];
  for (const [text, scheme, host] of cases) strictEqual(hostOf(text, scheme), host, text);
});
