import { deepStrictEqual } from "node:assert/strict";
import { parseImageReference, type RegistryBackend } from "../../../lib/model/mod.ts";
import type { Mount } from "../../../lib/reconciler/mounts.ts";
import { probeTargetOf } from "../../../lib/reconciler/candidate_selection.ts";

const IMAGE = parseImageReference("registry.example.com/team/app:1");
const PROXY = { url: "http://127.0.0.1:65001", useHttp: false, fallback: true };

function targetOf(more: Partial<RegistryBackend>) {
  const host = "registry.example.com";
  const backend = { host, skipVerify: false, caFiles: [], mirrors: [], ...more };
  const instance = { snapshotId: "1", image: IMAGE, backend };
  return probeTargetOf(IMAGE, [{ instance } as unknown as Mount]);
}

const summary = ({ scheme, host, proxyUrl, fallback }: ReturnType<typeof targetOf>) => ({
  url: `${scheme}://${host}`,
  proxy: proxyUrl?.reveal(),
  fallback: fallback && `${fallback.scheme}://${fallback.host}`,
});

Deno.test("probeTargetOf: uses the scheme, CA files and repository of nydusd", () => {
  const { scheme, repository, skipVerify, caFiles } = targetOf({
    scheme: "http",
    repo: "cache/team/app",
    skipVerify: true,
    caFiles: ["/ca.pem"],
  });
  deepStrictEqual([scheme, repository, skipVerify, caFiles], [
    "http",
    "cache/team/app",
    true,
    ["/ca.pem"],
  ]);
  const plain = probeTargetOf(IMAGE, []);
  deepStrictEqual([plain.host, plain.skipVerify], ["registry.example.com", false]);
});

Deno.test("probeTargetOf: a mirror of older versions takes precedence over the registry", () => {
  const mirrors = ["http://mirror.example.com:5000", "https://second.example.com"];
  deepStrictEqual(summary(targetOf({ mirrors })), {
    url: "http://mirror.example.com:5000",
    proxy: undefined,
    fallback: "https://registry.example.com",
  });
});

Deno.test("probeTargetOf: uses the proxy, over plain HTTP if nydusd does", () => {
  const registry = "https://registry.example.com";
  const proxy = PROXY.url;
  deepStrictEqual(summary(targetOf({ proxy: PROXY })), {
    url: registry,
    proxy,
    fallback: registry,
  });
  deepStrictEqual(summary(targetOf({ proxy: { ...PROXY, useHttp: true } })), {
    url: "http://registry.example.com",
    proxy,
    fallback: registry,
  });
  const strict = summary(targetOf({ proxy: { ...PROXY, fallback: false } }));
  deepStrictEqual(strict, { url: registry, proxy, fallback: undefined });
});
