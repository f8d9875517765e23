import { join } from "@std/path";
import { parse } from "@std/toml";
import { hostOf } from "../model/mod.ts";

/** Hosts in one hosts.toml at the most. */
const MAX_HOSTS = 64;

/**
 * Where the snapshotter looks for a registry's mirrors below its mirrors folder, most specific
 * first (nydus-snapshotter `config/daemonconfig/mirrors.go`, `hostPaths`).
 */
export function mirrorFiles(folder: string, registry: string): readonly string[] {
  const colon = registry.lastIndexOf(":");
  const names = [
    ...(colon > 0 ? [`${registry.slice(0, colon)}_${registry.slice(colon + 1)}_`] : []),
    registry,
    "_default",
  ];
  return names.map((name) => join(folder, name, "hosts.toml"));
}

/**
 * The hosts that a hosts.toml names as mirrors; of a URL only the host counts, as for the
 * snapshotter. Undefined when the text cannot be used.
 */
export function mirrorsOf(text: string): readonly string[] | undefined {
  let hosts: unknown;
  try {
    hosts = parse(text.replace(/^\uFEFF/, ""))["host"];
  } catch {
    return undefined; // half-written, perhaps
  }
  if (hosts === undefined) return [];
  if (typeof hosts !== "object" || hosts === null || Array.isArray(hosts)) return undefined;
  return Object.keys(hosts).slice(0, MAX_HOSTS).flatMap((url) => hostOf(url) ?? []);
}
