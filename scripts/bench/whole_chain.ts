import { join } from "@std/path";
import { PullCredentialCache } from "../../lib/cri/mod.ts";
import {
  type Clock,
  credentialFromPair,
  type Observer,
  parseImageReference,
} from "../../lib/model/mod.ts";
import { systemClock, systemFiles } from "../../lib/platform/mod.ts";
import {
  CredentialChain,
  CredentialHelpers,
  criProvider,
  disabledProvider,
  DockerProvider,
  type KubeletProvider,
  labelsProvider,
  PushedCredentials,
} from "../../lib/providers/mod.ts";
import { CountedPlugin } from "./plugin.ts";

/** Entries per source for images that are never requested. */
const OTHERS = 100;

/**
 * Returns a chain in which every provider before the kubelet provider has entries, but none for the
 * images of a benchmark. Pull secrets come later in the chain, so they are never queried.
 */
export function wholeChain(
  kubelet: KubeletProvider,
  observer: Observer,
  clock: Clock = systemClock,
): CredentialChain {
  return new CredentialChain({
    providers: [
      labelsProvider(clock, puts(clock)),
      criProvider(pulls(clock)),
      docker(observer, clock),
      kubelet,
      disabledProvider("kubesecret", true),
    ],
    clock,
    observer,
  });
}

function puts(clock: Clock): PushedCredentials {
  const puts = new PushedCredentials({ clock });
  for (const { image, credential } of others()) puts.put({ kind: "image", image }, credential);
  return puts;
}

function pulls(clock: Clock): PullCredentialCache {
  const cache = new PullCredentialCache({ now: () => clock.wallMs() });
  for (const seen of others()) cache.record(seen);
  return cache;
}

/** Uses a real Docker configuration file, because reading it is part of the lookup cost. */
function docker(observer: Observer, clock: Clock): DockerProvider {
  const helpers = new CredentialHelpers({
    processRunner: new CountedPlugin(),
    files: systemFiles,
    clock,
    observer,
    random: { next: () => 0.5 },
    searchPath: "",
    timeoutMs: 1_000,
    refreshIntervalMs: 240_000,
    signal: new AbortController().signal,
  });
  return new DockerProvider({ configPath: dockerConfig(), files: systemFiles, clock, helpers });
}

function* others() {
  for (let i = 0; i < OTHERS; i++) {
    const image = parseImageReference(`other-${i}.example.org/team/app:v1`);
    const credential = credentialFromPair("user", `password-${i}`);
    if (credential !== undefined) yield { image, credential };
  }
}

let configPath: string | undefined;

function dockerConfig(): string {
  if (configPath !== undefined) return configPath;
  const folder = Deno.makeTempDirSync({ prefix: "nydus-bench-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  const auth = btoa("user:password");
  const auths = [...others()].map(({ image }) => [image.registry, { auth }]);
  const path = join(folder, "config.json");
  Deno.writeTextFileSync(path, JSON.stringify({ auths: Object.fromEntries(auths) }));
  return configPath = path;
}
