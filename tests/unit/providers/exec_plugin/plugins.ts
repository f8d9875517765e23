import { fail } from "node:assert/strict";
import {
  type CredentialRequest,
  parseImageReference,
  type ProcessRequest,
  type ProviderOutcome,
} from "../../../../lib/model/mod.ts";
import { KubeletProvider } from "../../../../lib/providers/mod.ts";
import { FakeClock } from "../../../fakes/clock.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { FakeObserver } from "../../../fakes/observer.ts";
import { FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";

export const CONFIG_PATH = "/etc/plugins.yaml";

/** A plugin in the configuration file. */
export interface PluginText {
  readonly name: string;
  readonly matchImages: readonly string[];
  readonly duration?: string;
}

export function configText(...plugins: readonly PluginText[]): string {
  return JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1",
    kind: "CredentialProviderConfig",
    providers: plugins.map(({ name, matchImages, duration = "1h" }) => ({
      name,
      matchImages,
      defaultCacheDuration: duration,
      apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    })),
  });
}

export function response(
  auth: Readonly<Record<string, readonly [string, string]>> | null,
  { type = "Registry", duration }: { readonly type?: string; readonly duration?: string } = {},
): string {
  const pairs = Object.entries(auth ?? {}).map(([pattern, [username, password]]) =>
    [pattern, { username, password }] as const
  );
  return JSON.stringify({
    kind: "CredentialProviderResponse",
    apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    cacheKeyType: type,
    ...(duration !== undefined && { cacheDuration: duration }),
    auth: auth === null ? null : Object.fromEntries(pairs),
  });
}

export function requestFor(ref: string, more: Partial<CredentialRequest> = {}): CredentialRequest {
  return { image: parseImageReference(ref), labels: {}, ...more };
}

/** Returns the image in a request to a plugin. */
export function requestedImage({ stdin }: ProcessRequest): string {
  return (JSON.parse(stdin) as { readonly image: string }).image;
}

/** Returns the credentials of an outcome as `username:password`, best first. */
export function pairs(outcome: ProviderOutcome): readonly string[] {
  if (outcome.kind !== "found") return [];
  return outcome.candidates.map(({ credential }) =>
    credential.kind === "basic"
      ? `${credential.username}:${credential.password.reveal()}`
      : credential.kind
  );
}

/** Creates a kubelet provider with fakes. */
export function kubelet(
  plugins: readonly PluginText[],
  options: { maxParallel?: number; clock?: FakeClock } = {},
) {
  const { clock = new FakeClock() } = options;
  const observer = new FakeObserver();
  const files = new FakeFiles();
  const runner = new FakeProcessRunner(() => response(null));
  files.set(CONFIG_PATH, configText(...plugins));
  const settings = {
    configPath: CONFIG_PATH,
    binDir: "/bin/plugins",
    timeoutMs: 60_000,
    maxParallel: options.maxParallel ?? 4,
    files,
    processRunner: runner,
    clock,
    random: new FakeRandom(),
    observer,
    signal: new AbortController().signal,
    accounts: () => fail("no plugin has tokenAttributes"),
  };
  const provider = new KubeletProvider(settings);
  return { provider, clock, observer, files, runner, settings };
}

/** Returns a JWT with this expiry, in whole seconds. */
export function jwt(expiresAtMs: number): string {
  const part = (value: unknown) =>
    new TextEncoder().encode(JSON.stringify(value)).toBase64({
      alphabet: "base64url",
      omitPadding: true,
    });
  return `${part({ alg: "none" })}.${part({ exp: Math.floor(expiresAtMs / 1000) })}.x`;
}
