import { deepEqual, equal } from "node:assert/strict";
import { credentialSecret, parseDurationMs, parseImageReference } from "../../lib/model/mod.ts";
import { readPluginResponse } from "../../lib/providers/mod.ts";
import { runVectors } from "./vectors.ts";

interface PluginResponseVector {
  readonly name: string;
  readonly stdout: string;
  readonly defaultCacheDuration: string;
  readonly error?: string;
  readonly cacheSeconds?: number;
  /** Empty for a type that the protocol does not define. */
  readonly cacheKey?: string;
  readonly authIsNull?: boolean;
  readonly auth?: Readonly<Record<string, { username: string; password: string }>>;
}

const IMAGE = parseImageReference("reg.example.com:5000/a/b:v1");
const KEYS = { Image: IMAGE.text, Registry: IMAGE.registry, Global: "<global>" };

// Source: Kubernetes `pkg/credentialprovider/plugin/plugin.go` and nydus-snapshotter
// `pkg/auth/kubelet.go`, `execPlugin`.
Deno.test("readPluginResponse: agrees with every vector of plugin-responses.json", () => {
  runVectors<PluginResponseVector>("plugin-responses", (vector) => {
    const { stdout, defaultCacheDuration, error, cacheKey, authIsNull, auth = {} } = vector;
    const reading = readPluginResponse(stdout, parseDurationMs(defaultCacheDuration));
    if (error !== undefined || cacheKey === "") {
      equal(reading.kind, "failed");
      return;
    }
    if (reading.kind === "failed") throw new Error(reading.detail);
    const { response } = reading;
    equal(response.cacheDurationMs, (vector.cacheSeconds ?? NaN) * 1000);
    equal(KEYS[response.cacheKeyType], cacheKey);
    equal(response.auth === undefined, authIsNull);
    const found = (response.auth ?? []).map(({ pattern, username, credential }) => {
      const password = credential === undefined ? "" : credentialSecret(credential).reveal();
      return [pattern, { username, password }] as const;
    });
    deepEqual(Object.fromEntries(found), auth);
  });
});
